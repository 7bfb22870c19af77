import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { run } from "../../cli/run.ts";
import type { CompleteRequest } from "../../pipeline/mod.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { assertRefused, fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], stdin?: string) {
  const requests: CompleteRequest[] = [];
  const onRequest = (request: CompleteRequest) => requests.push(request);
  const environment = fakeEnvironment({ folder, onRequest, ...(stdin !== undefined && { stdin }) });
  const code = await run(args, environment);
  const loras = requests.map((request) => (request.loras ?? []).map(({ name, weight }) => `${name} ${weight}`));
  return { code, loras, stages: environment.stages, ...environment.written };
}

const LAYER = "lora_unet_mid_block_attentions_0_proj_in";

/** Writes a LoRA for the fake model, whose values are all `value`, and other tensors that no model uses. */
function writeLora(path: string, value: number, unused: readonly string[] = []): void {
  const tensor = (shape: readonly number[]) => {
    const values = new Float32Array(shape.reduce((a, b) => a * b, 1)).fill(value);
    return { dtype: "F32", shape, bytes: new Uint8Array(values.buffer) };
  };
  const used = [[`${LAYER}.lora_down.weight`, tensor([2, 4])], [`${LAYER}.lora_up.weight`, tensor([6, 2])]] as const;
  Deno.writeFileSync(path, storeTensors(new Map([...used, ...unused.map((name) => [name, tensor([1])] as const)])));
}

const withLoras = (test: (folder: string) => Promise<void>) =>
  withFolder(async (folder) => {
    Deno.mkdirSync(join(folder, "loras"));
    writeLora(join(folder, "fox.safetensors"), 1);
    writeLora(join(folder, "loras", "detail.safetensors"), 2, ["lora_te2_other.alpha"]);
    await test(folder);
  });

Deno.test(
  "LoRAs are given with weights, by options and in the prompt, and it is told what of them is used",
  withLoras(async (folder) => {
    const one = ["--lora", "fox.safetensors:0.5", "--lora=detail:-1", "--lora-dir", "loras"];
    const { code, loras, stderr } = await runFake(folder, ["a cat <lora:detail.safetensors:.25>", ...one]);
    assertEquals([code, loras], [0, [["fox.safetensors 0.5", "detail -1", "detail.safetensors 0.25"]]], stderr);
    assertStringIncludes(stderr, 'The LoRA "fox.safetensors" of weight 0.5: 2 of its tensors are used\n');
    assertStringIncludes(
      stderr,
      'The LoRA "detail" of weight -1: 2 of its tensors are used; not used, since this model has no such layers: ' +
        '1 tensor ("lora_te2_other.alpha")\n',
    );
    const plain = await runFake(folder, ["a <lora:detail:1>", "--prompt-syntax", "plain"]);
    assertEquals([plain.code, plain.loras], [0, [[]]], plain.stderr);
  }),
);

Deno.test(
  "LoRAs that are not there, not this model's or not in their folder are refused before a GPU is opened",
  withLoras(async (folder) => {
    Deno.symlinkSync(join(folder, "fox.safetensors"), join(folder, "loras", "link.safetensors"));
    const strange = new Map([["a.alpha", { dtype: "F32", shape: [], bytes: new Uint8Array(4) }]]);
    Deno.writeFileSync(join(folder, "strange.safetensors"), storeTensors(strange));
    Deno.writeFileSync(join(folder, "loras", "bad.safetensors"), new Uint8Array(9));
    const inPrompt = (tag: string) => [`a cat <lora:${tag}>`, "--lora-dir", "loras"];
    for (
      const [args, code, message] of [
        [["a cat", "--lora", "none.safetensors"], 4, "There is no file"],
        [["a cat", "--lora", "strange.safetensors"], 5, "nothing in it belongs to a layer of this model: 1 tensor"],
        [["a cat", "--lora", "loras"], 4, "There is no file"],
        [["a cat", "--lora", "fox.safetensors:101"], 2, "--lora must be a file and a weight from -100 to 100"],
        [["a cat", "--lora", ""], 2, "--lora needs a value: --lora FILE[:WEIGHT]"],
        [["a cat <lora:detail:1>"], 2, 'The prompt names the LoRA "detail": --lora-dir says in which folder it is'],
        [inPrompt("none:1"), 4, "There is no file"],
        [inPrompt("../fox:1"), 4, '"../fox" is not the name of a LoRA'],
        [inPrompt("..\\fox:1"), 4, "is not the name of a LoRA"],
        [inPrompt("/etc/passwd:1"), 4, "is not the name of a LoRA"],
        [inPrompt("link:1"), 5, "this is a link out of the folder"],
        [inPrompt("bad:1"), 5, "bad.safetensors"],
        [inPrompt("detail:much"), 2, 'The prompt: The weight of "<lora:detail:much>" is not one number'],
        [inPrompt(":1"), 2, "names no LoRA"],
        [[...Array.from({ length: 65 }, () => "--lora=fox.safetensors"), "a cat"], 2, "--lora: there are 65 LoRAs"],
      ] as const
    ) {
      const told = await runFake(folder, args);
      assertRefused(told, code, message, `${args}`);
    }
  }),
);

Deno.test(
  "a weight of 0 makes the same file as no LoRA",
  withLoras(async (folder) => {
    await runFake(folder, ["a cat", "--seed", "1", "--output", "none.png"]);
    const zero = ["--lora", "fox.safetensors:0", "--lora", "detail:0.0"];
    assertEquals((await runFake(folder, ["a cat", "--seed", "1", "--output", "zero.png", ...zero])).code, 0);
    assertEquals(Deno.readFileSync(join(folder, "zero.png")), Deno.readFileSync(join(folder, "none.png")));
    assertEquals((await runFake(folder, ["a cat<lora:x:0>"])).loras, [[]]);
  }),
);

Deno.test(
  "a line of a batch may have LoRAs of its own, or none",
  withLoras(async (folder) => {
    const lines = [
      "a cat",
      { prompt: "a cat", lora: "fox.safetensors:2" },
      { prompt: "a cat", lora: ["loras/detail.safetensors:0.5", "fox.safetensors"] },
      { prompt: "a cat <lora:detail:1>", lora: [] },
    ].map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n");
    const args = ["batch", "-", "--lora", "fox.safetensors:0.1", "--lora-dir", "loras"];
    const { code, loras, stderr } = await runFake(folder, args, lines);
    assertEquals([code, loras], [0, [
      ["fox.safetensors 0.1"],
      ["fox.safetensors 2"],
      ["loras/detail.safetensors 0.5", "fox.safetensors 1"],
      ["detail 1"],
    ]], stderr);
    for (const lora of [7, {}, [7], [["a"]], true, Array.from({ length: 65 }, () => "a")]) {
      const wrong = await runFake(folder, args, JSON.stringify({ prompt: "x", lora }));
      assertEquals(wrong.code, `${lora}` === "7" ? 4 : 2, wrong.stderr);
    }
    const own = await runFake(folder, args, '{"prompt": "x", "lora-dir": "/etc"}');
    assertStringIncludes(own.stderr, "Line 1: lora-dir is not an option of a picture");
  }),
);

Deno.test(
  "a picture keeps its LoRAs with their hashes, show says them, and --from makes the same file again",
  withLoras(async (folder) => {
    const args = ["--lora", "fox.safetensors:0.5", "--lora-dir", "loras", "--seed", "1", "--output", "cat.png"];
    assertEquals((await runFake(folder, ["a cat <lora:detail:0.25>", ...args])).code, 0);
    const shown = await runFake(folder, ["show", "cat.png", "--json"]);
    const { picture, loras } = JSON.parse(shown.stdout);
    assertEquals([picture.lora, picture["lora-dir"]], [["fox.safetensors:0.5"], undefined]);
    const digest = await crypto.subtle.digest("SHA-256", Deno.readFileSync(join(folder, "fox.safetensors")));
    const sha256 = new Uint8Array(digest).toHex();
    assertEquals(loras[0], { name: "fox.safetensors", weight: 0.5, sha256 });
    assertEquals([loras.length, loras[1].name, loras[1].weight], [2, "detail", 0.25]);
    const words = (await runFake(folder, ["show", "cat.png"])).stdout;
    assertStringIncludes(words, "\nlora: fox.safetensors:0.5\n");
    assertStringIncludes(words, `\nlora file: fox.safetensors, weight 0.5, SHA-256 ${sha256}\n`);

    const again = ["--from", "cat.png", "--lora-dir", "loras", "--output", "again.png"];
    const untrusted = await runFake(folder, again);
    assertEquals(untrusted.code, 2);
    assertStringIncludes(untrusted.stderr, "cat.png was made with --lora fox.safetensors:0.5: add this to the command");
    for (const trust of [["--trust-paths"], ["--lora", "fox.safetensors:0.5"]]) {
      assertEquals((await runFake(folder, [...again, ...trust])).code, 0);
      assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
      Deno.removeSync(join(folder, "again.png"));
    }
    const report = await runFake(folder, [...again, "--trust-paths", "--json"]);
    assertEquals(JSON.parse(report.stdout).loras, loras);

    writeLora(join(folder, "loras", "detail.safetensors"), 3);
    const other = await runFake(folder, [...again, "--trust-paths"]);
    assertEquals([other.code, other.stages.includes("openGpu")], [2, false], other.stderr);
    assertStringIncludes(other.stderr, "The LoRA detail is another file than that of this name with which cat.png was");
  }),
);

Deno.test(
  "what a PNG says of LoRAs is not believed blindly",
  withLoras(async (folder) => {
    const { encodePng } = await import("../../cli/png.ts");
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    const write = (loras: unknown, lora?: unknown) => {
      const text = JSON.stringify({ picture: { prompt: "a cat", seed: "1", steps: 1, lora }, loras });
      Deno.writeFileSync(join(folder, "odd.png"), encodePng(blank, [{ keyword: "denoise", text }]));
    };
    for (const loras of [7, null, {}, "x", [null, 7, [], {}, { name: 7, weight: "1", sha256: {} }]]) {
      write(loras);
      assertEquals((await runFake(folder, ["--from", "odd.png"])).code, 0);
    }
    write(undefined, ["/etc/passwd", "fox.safetensors:1"]);
    const { code, stderr, stages } = await runFake(folder, ["--from", "odd.png"]);
    assertEquals([code, stages.includes("openModel")], [2, false]);
    assertStringIncludes(stderr, "was made with --lora /etc/passwd --lora fox.safetensors:1: add this");
    write([{ name: "x\x1b[2J", weight: 1, sha256: "\x9b" }]);
    const shown = await runFake(folder, ["show", "odd.png"]);
    assert(!shown.stdout.includes("\x1b") && !shown.stdout.includes("\x9b"));
  }),
);
