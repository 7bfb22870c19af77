import { assertEquals, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import { join } from "@std/path";
import { encodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import type { CompleteRequest } from "../../pipeline/mod.ts";
import { controlFile } from "../weights/controlnet_file.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { assertRefused, fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], world: FakeWorld = {}) {
  const requests: CompleteRequest[] = [];
  const environment = fakeEnvironment({ folder, onRequest: (request) => requests.push(request), ...world });
  const code = await run(args, environment);
  const controls = requests.map(({ controls = [] }) =>
    controls.map(({ image, strength, start, end, canny = [] }) =>
      [image.file!.path, strength, start, end, ...canny].join(" ")
    )
  );
  return { code, controls, requests, stages: environment.stages, ...environment.written };
}

const NET = controlFile();

/** Runs `test` in a folder with a ControlNet for the fake model and three pictures. */
const withControls = (test: (folder: string) => Promise<void>) =>
  withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "net.safetensors"), NET);
    for (const [name, width] of [["a.png", 64], ["b.png", 64], ["wide.png", 128]] as const) {
      const pixels = new Uint8Array(3 * width * 64).fill(name.charCodeAt(0));
      Deno.writeFileSync(join(folder, name), encodePng({ width, height: 64, pixels }));
    }
    await test(folder);
  });

const ONE = ["--controlnet", "net.safetensors", "--control-image", "a.png"];
const sha256 = (path: string) => createHash("sha256").update(Deno.readFileSync(path)).digest("hex");

Deno.test(
  "what belongs to a ControlNet is given once for all or once for each",
  withControls(async (folder) => {
    const two = [...ONE, "--controlnet", "net.safetensors"];
    for (
      const [args, controls] of [
        [ONE, ["a.png 1 0 1"]],
        [[...ONE, "--canny", "100,200", "--control-strength", ".5"], ["a.png 0.5 0 1 100 200"]],
        [[...two, "--control-end", "0.5"], ["a.png 1 0 0.5", "a.png 1 0 0.5"]],
        [
          [...two, "--control-image", "b.png", "--control-strength", "0.25", "--control-strength", "2"],
          ["a.png 0.25 0 1", "b.png 2 0 1"],
        ],
        [
          [...two, "--control-start=0", "--control-start=.5", "--canny", "none", "--canny", "10,20"],
          ["a.png 1 0 1", "a.png 1 0.5 1 10 20"],
        ],
      ] as const
    ) {
      const told = await runFake(folder, ["a cat", ...args]);
      assertEquals([told.code, told.controls], [0, [controls]], told.stderr);
    }
    const wide = await runFake(folder, ["a cat", "--controlnet", "net.safetensors", "--control-image", "wide.png"]);
    assertEquals([wide.requests[0]!.width, wide.requests[0]!.height], [128, 64]);
    const narrow = await runFake(folder, [
      "a cat",
      "--width",
      "64",
      "--height",
      "64",
      ...ONE,
      "--control-image",
      "wide.png",
    ]);
    assertEquals([narrow.code, narrow.stages], [2, []]);
  }),
);

Deno.test(
  "ControlNets that are not there or another model's, and wrong options, are refused before a GPU is opened",
  withControls(async (folder) => {
    Deno.writeFileSync(join(folder, "bad.safetensors"), new Uint8Array(9));
    Deno.writeFileSync(join(folder, "xl.safetensors"), controlFile({ model: "sdxl" }));
    const alpha = { dtype: "F32", shape: [1], bytes: new Uint8Array(4) };
    Deno.writeFileSync(join(folder, "lora.safetensors"), storeTensors(new Map([["lora_unet_x.alpha", alpha]])));
    const net = (path: string) => ["--controlnet", path, "--control-image", "a.png"];
    for (
      const [args, code, message] of [
        [net("none.safetensors"), 4, "There is no folder or file"],
        [net("bad.safetensors"), 5, "bad.safetensors"],
        [net("lora.safetensors"), 5, "this is a LoRA, which --lora takes beside a model, not a ControlNet"],
        [net("xl.safetensors"), 5, "it reads a context of width 80, and the model's UNet 32"],
        [["--controlnet", "net.safetensors"], 2, "--controlnet requires --control-image, the picture that it sees"],
        [["--control-image", "a.png"], 2, "--control-image requires --controlnet"],
        [["--canny", "100,200"], 2, "--canny requires --controlnet"],
        [
          [...ONE, "--control-image", "b.png"],
          2,
          "--control-image is given 2 times for 1 ControlNet: give it once for",
        ],
        [[...ONE, "--control-strength", "11"], 2, "--control-strength must be a number from 0 to 10"],
        [[...ONE, "--control-strength=-1"], 2, "--control-strength must be a number from 0 to 10"],
        [
          [...ONE, "--control-end", "0"],
          2,
          "--controlnet: start and end must be numbers from 0 to 1, the start before",
        ],
        [[...ONE, "--canny", "100"], 2, "--canny must be two whole numbers from 0 to 2040, such as 100,200, or none"],
        [[...ONE, "--canny", "1,2041"], 2, "--canny must be two whole numbers from 0 to 2040"],
        [[...ONE, ...Array.from({ length: 8 }, () => "--controlnet=n")], 2, "--controlnet is given 9 times; at most 8"],
        [["--controlnet", "net.safetensors", "--control-image", "no.png"], 2, "--control-image no.png"],
        [[...ONE, "--output", "a.png"], 2, "--control-image and Picture 1 are the same file, a.png"],
      ] as const
    ) {
      const told = await runFake(folder, ["a cat", ...args]);
      assertRefused(told, code, message, `${args}`);
    }
  }),
);

Deno.test(
  "lines of a batch have control images of their own, and no ControlNet of their own",
  withControls(async (folder) => {
    const lines = [
      "a cat",
      { prompt: "a cat", "control-image": "b.png", "control-strength": 0.5, "canny": "1,2" },
      { prompt: "a cat", "control-image": ["wide.png"], "control-start": [0.25], controlnet: "net.safetensors" },
    ].map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n");
    const args = ["batch", "-", ...ONE];
    const { code, controls, stderr } = await runFake(folder, args, { stdin: lines });
    assertEquals([code, controls], [0, [["a.png 1 0 1"], ["b.png 0.5 0 1 1 2"], ["wide.png 1 0.25 1"]]], stderr);
    for (
      const [line, words] of [
        [{ controlnet: "other.safetensors" }, "give --controlnet for all lines"],
        [{ "control-image": ["a.png", "b.png"] }, "Line 1: --control-image is given 2 times for 1 ControlNet"],
        [{ "control-image": [] }, "Line 1: --controlnet requires --control-image"],
        [{ "control-strength": true }, "control-strength must be a text or a number"] as const,
      ] as const
    ) {
      const wrong = await runFake(folder, args, { stdin: JSON.stringify({ prompt: "a cat", ...line }) });
      assertEquals(wrong.code, 2, wrong.stderr);
      assertStringIncludes(wrong.stderr, words);
    }
  }),
);

Deno.test(
  "a picture keeps its ControlNets with their hashes, show says them, and --from makes the same file again",
  withControls(async (folder) => {
    const options = ["--control-strength", "0.5", "--canny", "100,200", "--seed", "1", "--output", "cat.png"];
    const made = await runFake(folder, ["a cat", ...ONE, ...options, "--json"]);
    assertEquals(made.code, 0, made.stderr);
    const [control] = JSON.parse(made.stdout).controls;
    const hashes = ["a.png", "net.safetensors"].map((name) => [name, sha256(join(folder, name))] as const);
    assertEquals(control, {
      image: { path: "a.png", sha256: hashes[0]![1] },
      canny: [100, 200],
      strength: 0.5,
      start: 0,
      end: 1,
    });
    const { picture, files, parameters } = JSON.parse((await runFake(folder, ["show", "cat.png", "--json"])).stdout);
    assertEquals(files, Object.fromEntries(hashes));
    assertEquals(
      ["controlnet", "control-image", "control-strength", "control-start", "control-end", "canny"].map((name) =>
        picture[name]
      ),
      [["net.safetensors"], ["a.png"], ["0.5"], ["0"], ["1"], ["100,200"]],
    );
    const said = 'ControlNet 0: "Module: canny, Model: net, Weight: 0.5, Resize Mode: Just Resize, Threshold A: 100, ' +
      'Threshold B: 200, Guidance Start: 0, Guidance End: 1, Control Mode: Balanced"';
    assertStringIncludes(parameters, said);
    const words = (await runFake(folder, ["show", "cat.png"])).stdout;
    assertStringIncludes(words, "\ncontrolnet: net.safetensors\ncontrol-image: a.png\ncontrol-strength: 0.5\n");
    assertStringIncludes(words, `\nSHA-256 of net.safetensors: ${hashes[1]![1]}\n`);

    const again = ["--from", "cat.png", "--output", "again.png"];
    const untrusted = await runFake(folder, again);
    assertEquals(untrusted.code, 2);
    assertStringIncludes(untrusted.stderr, `was made with ${ONE.join(" ")}: add this to the command`);
    for (const trust of [["--trust-paths"], ONE]) {
      const { code, stderr } = await runFake(folder, [...again, ...trust]);
      assertEquals(code, 0, stderr);
      assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
      Deno.removeSync(join(folder, "again.png"));
    }
    const other = controlFile({ prefix: "other" });
    Deno.writeFileSync(join(folder, "other.safetensors"), other);
    const chosen = await runFake(folder, [...again, "--controlnet", "other.safetensors", "--control-image", "b.png"]);
    assertEquals(chosen.code, 0, chosen.stderr);
    assertStringIncludes(chosen.stderr, "other.safetensors is not the ControlNet that cat.png was made with");
    for (
      const [name, bytes] of [["net.safetensors", other], ["a.png", Deno.readFileSync(join(folder, "b.png"))]] as const
    ) {
      const before = Deno.readFileSync(join(folder, name));
      Deno.writeFileSync(join(folder, name), bytes);
      const changed = await runFake(folder, [...again, "--trust-paths"]);
      assertEquals([changed.code, changed.stages.includes("openGpu")], [2, false], changed.stderr);
      assertStringIncludes(changed.stderr, `${name} is another file than the one that cat.png was made with`);
      Deno.writeFileSync(join(folder, name), before);
    }
  }),
);
