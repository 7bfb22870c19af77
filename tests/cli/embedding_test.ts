import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { run } from "../../cli/run.ts";
import { embedding } from "../../cli/values.ts";
import type { CompleteRequest } from "../../pipeline/mod.ts";
import { storeTensors } from "../weights/safetensors_bytes.ts";
import { assertRefused, fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

async function runFake(folder: string, args: readonly string[], stdin?: string) {
  const requests: CompleteRequest[] = [];
  const onRequest = (request: CompleteRequest) => requests.push(request);
  const environment = fakeEnvironment({ folder, onRequest, ...(stdin !== undefined && { stdin }) });
  const code = await run(args, environment);
  const words = requests.map(({ embeddings = [] }) => embeddings.map(({ name, word }) => `${name} ${word}`));
  return { code, words, requests, stages: environment.stages, ...environment.written };
}

/** Writes vectors for the fake model, or for one of another width. */
function writeInversion(path: string, count: number, width = 4): void {
  const bytes = new Uint8Array(new Float32Array(count * width).fill(count).buffer);
  Deno.writeFileSync(path, storeTensors(new Map([["emb_params", { dtype: "F32", shape: [count, width], bytes }]])));
}

const withInversions = (test: (folder: string) => Promise<void>) =>
  withFolder(async (folder) => {
    Deno.mkdirSync(join(folder, "styles"));
    writeInversion(join(folder, "fox.safetensors"), 2);
    writeInversion(join(folder, "styles", "ink.safetensors"), 1);
    await test(folder);
  });

Deno.test("an embedding is a file, and after the last colon of its name a word", () => {
  for (
    const [value, file, word] of [
      ["fox.safetensors", "fox.safetensors", "fox"],
      ["a/b c.d.safetensors", "a/b c.d.safetensors", "b c.d"],
      ["fox.safetensors:<fox>", "fox.safetensors", "<fox>"],
      ["a:b/fox.safetensors", "a:b/fox.safetensors", "fox"],
      ["C:\\fox.SAFETENSORS", "C:\\fox.SAFETENSORS", "fox"],
      ["C:\\fox.safetensors:f", "C:\\fox.safetensors", "f"],
    ] as const
  ) assertEquals(embedding(value), { file, word });
});

Deno.test(
  "an embedding is read in prompts at its word, and one that is in neither is told of",
  withInversions(async (folder) => {
    const args = ["--embedding", "fox.safetensors", "--embedding=styles/ink.safetensors:<ink>"];
    const { code, words, requests, stderr } = await runFake(folder, ["a Fox", ...args]);
    assertEquals([code, words], [0, [["fox.safetensors fox", "styles/ink.safetensors <ink>"]]], stderr);
    assertStringIncludes(stderr, 'The embedding "fox.safetensors": 2 vectors for "fox"\n');
    assertStringIncludes(
      stderr,
      'The embedding "styles/ink.safetensors" has no effect: "<ink>" is a word of no prompt',
    );
    const { tokens } = requests[0]!.prompts[0]!.at(-1)![0]!;
    assertEquals(tokens.map(({ vector }) => vector && [...vector]), [undefined, [2, 2, 2, 2], [2, 2, 2, 2]]);

    const negative = await runFake(folder, ["a cat", "--negative-prompt", "(<ink>:1.2)", ...args, "--json"]);
    assertStringIncludes(negative.stderr, 'The embedding "styles/ink.safetensors": 1 vector for "<ink>"\n');
    assertEquals(JSON.parse(negative.stdout).embeddings.map(({ word }: { word: string }) => word), ["fox", "<ink>"]);

    const read = await runFake(folder, ["tokens", "(fox:1.5) x", "--embedding", "fox.safetensors", "--json"]);
    const { chunks: [chunk], count } = JSON.parse(read.stdout);
    assertEquals([chunk.ids.slice(1, 5), chunk.weights.slice(1, 5), count], [
      [3, 4, 120 + 128, 2],
      [1.5, 1.5, 1, 1],
      3,
    ], read.stderr);
  }),
);

Deno.test(
  "embeddings that are not there, not this model's or not to be read are refused before a GPU is opened",
  withInversions(async (folder) => {
    writeInversion(join(folder, "wide.safetensors"), 1, 768);
    Deno.writeFileSync(join(folder, "old.pt"), new Uint8Array(9));
    Deno.writeFileSync(join(folder, "bad.safetensors"), new Uint8Array(9));
    for (
      const [value, code, message] of [
        ["none.safetensors", 4, "There is no file"],
        ["styles", 4, "There is no file"],
        ["wide.safetensors", 5, "its vectors are 768 wide, and those of this model's text encoder 4"],
        ["old.pt:<old>", 5, "a Python pickle can run any program when it is opened"],
        ["bad.safetensors", 5, "bad.safetensors"],
        ["fox.safetensors: ", 2, "--embedding must be a file and a word of 1 to 256 letters"],
        [`fox.safetensors:${"x".repeat(257)}`, 2, "--embedding must be a file and a word of 1 to 256 letters"],
        ["", 2, "--embedding needs a value: --embedding FILE[:WORD]"],
      ] as const
    ) {
      const told = await runFake(folder, ["a cat", "--embedding", value]);
      assertRefused(told, code, message, value);
    }
    const twice = await runFake(folder, [
      "a",
      ...["fox", "styles/ink"].map((name) => `--embedding=${name}.safetensors:Fox`),
    ]);
    assertEquals(twice.code, 2);
    assertStringIncludes(twice.stderr, '--embedding: two stand for "Fox": give one of them another word, FILE:WORD');
    const same = await runFake(folder, ["a", "--embedding", "fox.safetensors", "--output", "fox.safetensors"]);
    assertEquals(same.code, 2, same.stderr);
  }),
);

Deno.test(
  "a line of a batch may have embeddings of its own, or none",
  withInversions(async (folder) => {
    const lines = [
      "a fox",
      { prompt: "a fox", embedding: "styles/ink.safetensors:fox" },
      { prompt: "a fox", embedding: ["fox.safetensors", "styles/ink.safetensors"] },
      { prompt: "a fox", embedding: [] },
    ].map((line) => typeof line === "string" ? line : JSON.stringify(line)).join("\n");
    const { code, words, stderr } = await runFake(folder, ["batch", "-", "--embedding", "fox.safetensors:<f>"], lines);
    assertEquals([code, words], [0, [
      ["fox.safetensors <f>"],
      ["styles/ink.safetensors fox"],
      ["fox.safetensors fox", "styles/ink.safetensors ink"],
      [],
    ]], stderr);
  }),
);

Deno.test(
  "a picture keeps its embeddings with their hashes, show says them, and --from makes the same file again",
  withInversions(async (folder) => {
    const args = ["--embedding", "fox.safetensors", "--embedding", "styles/ink.safetensors:<ink>", "--seed", "1"];
    assertEquals((await runFake(folder, ["a fox <ink>", ...args, "--output", "cat.png"])).code, 0);
    const { picture, embeddings } = JSON.parse((await runFake(folder, ["show", "cat.png", "--json"])).stdout);
    assertEquals(picture.embedding, ["fox.safetensors:fox", "styles/ink.safetensors:<ink>"]);
    const digest = await crypto.subtle.digest("SHA-256", Deno.readFileSync(join(folder, "fox.safetensors")));
    const sha256 = new Uint8Array(digest).toHex();
    assertEquals([embeddings.length, embeddings[0]], [2, { name: "fox.safetensors", word: "fox", sha256 }]);
    const words = (await runFake(folder, ["show", "cat.png"])).stdout;
    assertStringIncludes(words, "\nembedding: styles/ink.safetensors:<ink>\n");
    assertStringIncludes(words, `\nembedding file: fox.safetensors, for fox, SHA-256 ${sha256}\n`);

    const again = ["--from", "cat.png", "--output", "again.png"];
    const untrusted = await runFake(folder, again);
    assertEquals(untrusted.code, 2);
    assertStringIncludes(untrusted.stderr, "made with --embedding fox.safetensors:fox --embedding 'styles/ink.safe");
    for (const trust of [["--trust-paths"], args]) {
      assertEquals((await runFake(folder, [...again, ...trust])).code, 0);
      assertEquals(Deno.readFileSync(join(folder, "again.png")), Deno.readFileSync(join(folder, "cat.png")));
      Deno.removeSync(join(folder, "again.png"));
    }
    writeInversion(join(folder, "fox.safetensors"), 3);
    const other = await runFake(folder, [...again, "--trust-paths"]);
    assertEquals([other.code, other.stages.includes("openGpu")], [2, false], other.stderr);
    assertStringIncludes(
      other.stderr,
      "The embedding fox.safetensors is another file than that of this name with which",
    );
  }),
);

Deno.test(
  "what a PNG says of embeddings is not believed blindly",
  withInversions(async (folder) => {
    const { encodePng } = await import("../../cli/png.ts");
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    const write = (embeddings: unknown, embedding?: unknown) => {
      const text = JSON.stringify({ picture: { prompt: "a cat", seed: "1", steps: 1, embedding }, embeddings });
      Deno.writeFileSync(join(folder, "odd.png"), encodePng(blank, [{ keyword: "denoise", text }]));
    };
    for (const embeddings of [7, null, {}, "x", [null, 7, [], {}, { name: 7, word: "1", sha256: {} }]]) {
      write(embeddings);
      assertEquals((await runFake(folder, ["--from", "odd.png"])).code, 0);
    }
    write(undefined, ["/etc/passwd"]);
    const { code, stderr, stages } = await runFake(folder, ["--from", "odd.png"]);
    assertEquals([code, stages.includes("openModel")], [2, false]);
    assertStringIncludes(stderr, "was made with --embedding /etc/passwd: add this");
    write([{ name: "x\x1b[2J", word: "\x9b", sha256: "\x9b" }]);
    const shown = await runFake(folder, ["show", "odd.png"]);
    assertStringIncludes(shown.stdout, "embedding file: x");
    assert(!shown.stdout.includes("\x1b") && !shown.stdout.includes("\x9b"));
  }),
);
