import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PNG } from "pngjs";
import { Buffer } from "node:buffer";
import { exitCodes, OutputError } from "../../cli/errors.ts";
import { run } from "../../cli/run.ts";
import { AUTO } from "../../pipeline/optimizations.ts";
import type { CompleteRequest } from "../../pipeline/mod.ts";
import { schedulerNames } from "../../pipeline/schedulers/mod.ts";
import { GpuFailedError, GpuMemoryError, NoGpuError } from "../../kernels/errors.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/mod.ts";
import { fakeEnvironment, type FakeWorld, type Stage } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

async function runFake(args: readonly string[], world: FakeWorld = {}) {
  const environment = fakeEnvironment(world);
  const code = await run(args, environment);
  return { code, ...environment.written, stages: environment.stages };
}

Deno.test("a picture: its path on stdout, everything else on stderr", () =>
  inFolder(async (folder) => {
    const { code, stdout, stderr } = await runFake(["A slice of pizza!", "--seed", "42"], { folder });
    assertEquals([code, stdout], [0, "a-slice-of-pizza-42.png\n"]);
    assertStringIncludes(stderr, "Seed 42\n");
    assertStringIncludes(stderr, "draws: emoji: gradients");
    const { width, height, data } = PNG.sync.read(Buffer.from(Deno.readFileSync(`${folder}/a-slice-of-pizza-42.png`)));
    assertEquals([width, height, ...data.subarray(0, 8)], [64, 72, 0, 1, 2, 255, 3, 4, 5, 255]);
  }));

Deno.test("a name that is taken gets a number, a named file is replaced", () =>
  inFolder(async (folder) => {
    const args = ["cat", "--seed", "1"];
    for (const name of ["cat-1.png", "cat-1-2.png", "cat-1-3.png"]) {
      assertEquals((await runFake(args, { folder })).stdout, `${name}\n`);
    }
    Deno.writeTextFileSync(`${folder}/mine.png`, "old");
    const { code, stdout } = await runFake([...args, "--output", "mine.png"], { folder });
    assertEquals([code, stdout], [0, "mine.png\n"]);
    assertEquals(Deno.readFileSync(`${folder}/mine.png`), Deno.readFileSync(`${folder}/cat-1.png`));
    assertEquals([...Deno.readDirSync(folder)].length, 4);
  }));

Deno.test("--output - writes the file's bytes to stdout and nothing else", () =>
  inFolder(async (folder) => {
    const { stdout } = await runFake(["cat", "--seed", "1", "--output", "-"], { folder });
    assertEquals([...Deno.readDirSync(folder)], []);
    await runFake(["cat", "--seed", "1"], { folder });
    assertEquals(stdout, new TextDecoder("latin1").decode(Deno.readFileSync(`${folder}/cat-1.png`)));
  }));

Deno.test("--json prints one document about the picture", () =>
  inFolder(async (folder) => {
    const seed = `${2n ** 64n - 1n}`;
    const { code, stdout } = await runFake(
      ["cat", "--json", "--quiet", "--seed", seed, "--model", "mine", "--scheduler", "euler", "--steps", "3"],
      { folder },
    );
    assertEquals(code, 0);
    const { timings, sha256, ...rest } = JSON.parse(stdout);
    assertEquals(rest, {
      schema: 1,
      status: "ok",
      index: 1,
      path: `cat-${seed}.png`,
      model: "mine",
      prompt: "cat",
      negativePrompt: "",
      promptSyntax: "a1111",
      longPrompt: "truncate",
      clipSkip: 1,
      seed,
      steps: 3,
      guidance: 1.5,
      width: 64,
      height: 72,
      vaeTiling: "auto",
      scheduler: "euler",
      rng: "cpu",
      precision: "auto",
      kernels: AUTO,
      adapter: { description: "Fake", vendor: "none", architecture: "none", software: true, webgpu: "Deno 2.9.6" },
      peakBytes: 4096,
    });
    assertEquals(Object.keys(timings), ["load", "text", "denoise", "decode", "total"]);
    const file = Deno.readFileSync(`${folder}/cat-${seed}.png`);
    assertEquals(sha256, new Uint8Array(await crypto.subtle.digest("SHA-256", file)).toHex());
  }));

Deno.test("--quiet leaves stderr empty", () =>
  inFolder(async (folder) => {
    const { code, stderr } = await runFake(["a very long prompt", "--quiet"], { folder, terminal: true });
    assertEquals([code, stderr], [0, ""]);
  }));

Deno.test("a seed that nobody gave is drawn, printed and part of the name", () =>
  inFolder(async (folder) => {
    const { stdout, stderr } = await runFake(["cat"], { folder });
    const seed = stderr.match(/^Seed (\d+)$/m)?.[1];
    assertEquals(stdout, `cat-${seed}.png\n`);
    assert((await runFake(["cat"], { folder })).stdout !== stdout);
  }));

Deno.test("the prompt comes from stdin when no argument holds it", () =>
  inFolder(async (folder) => {
    const { stdout } = await runFake(["--seed", "7"], { folder, stdin: "a dog\n" });
    assertEquals(stdout, "a-dog-7.png\n");
    const named = await runFake(["--seed", "7", "--", "tokens"], { folder, stdin: "a dog\n" });
    assertEquals(named.stdout, "tokens-7.png\n");
  }));

Deno.test("the prompt comes from a file", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/prompt.txt`, "\na red\nfox 🦊\n");
    const args = ["--seed", "7", "--prompt-file"];
    const { stdout } = await runFake([...args, "prompt.txt", "--json"], { folder, stdin: "a dog" });
    assertEquals(JSON.parse(stdout).prompt, "a red\nfox 🦊");
    Deno.writeFileSync(`${folder}/latin1.txt`, Uint8Array.of(0xe9));
    for (
      const [given, words] of [
        [["nowhere.txt"], "Cannot read --prompt-file nowhere.txt: there is no such file"],
        [["prompt.txt/x"], "Cannot read --prompt-file prompt.txt/x: there is no such file"],
        [["latin1.txt"], "Cannot read --prompt-file latin1.txt: it is not UTF-8 text"],
        [["prompt.txt", "a dog"], "A prompt and --prompt-file are two prompts: choose one"],
      ] as const
    ) {
      const { code, stderr, stages } = await runFake([...args, ...given], { folder, stdin: "a dog" });
      assertEquals([code, stages], [2, []]);
      assertStringIncludes(stderr, words);
    }
  }));

Deno.test("an empty prompt is a picture where a file or a line says it", () =>
  inFolder(async (folder) => {
    Deno.writeTextFileSync(`${folder}/empty.txt`, " \n");
    const { code, stdout } = await runFake(["--prompt-file", "empty.txt", "--seed", "7"], { folder, stdin: "a dog" });
    assertEquals([code, stdout], [0, "picture-7.png\n"]);
    const again = await runFake(["--from", "picture-7.png", "--output", "again.png"], { folder, stdin: "a dog" });
    assertEquals(again.code, 0, again.stderr);
    assertEquals(Deno.readFileSync(`${folder}/again.png`), Deno.readFileSync(`${folder}/picture-7.png`));
    const lines = ' \t\n{"prompt": "", "negative-prompt": "a dog"}\n';
    const batch = await runFake(["batch", "-"], { folder, stdin: lines });
    assertEquals([batch.code, batch.stdout], [0, "0001-0-picture.png\n"]);
    const { picture, parameters } = JSON.parse(
      (await runFake(["show", "0001-0-picture.png", "--json"], { folder })).stdout,
    );
    assertEquals([picture.prompt, parameters.startsWith("Negative prompt: a dog\nSteps: 10, ")], ["", true]);
    const tokens = await runFake(["tokens", "--prompt-file", "empty.txt"], { folder });
    assertStringIncludes(tokens.stdout, "count: 0 of 10\n");
    for (const stdin of ["", " \n"]) {
      const refused = await runFake([""], { folder, stdin });
      assertEquals([refused.code, refused.stages], [2, []]);
      assertStringIncludes(refused.stderr, "No prompt");
    }
  }));

Deno.test("pictures of one --count are completed once, before the GPU is opened, and differ by their seeds", () =>
  inFolder(async (folder) => {
    const requests: CompleteRequest[] = [];
    const onRequest = (request: CompleteRequest) => void requests.push(request);
    const { stages } = await runFake(["cat", "--count", "3", "--seed", "9", "--steps", "1"], { folder, onRequest });
    assertEquals(stages.slice(0, 5), ["openModel", "complete", "openGpu", "loadPipeline", "step"]);
    assertEquals(stages.filter((stage) => stage === "complete").length, 1);
    assertEquals(requests.map(({ seed }) => seed), [9n, 10n, 11n]);
    assertEquals(new Set(requests.map(({ schedule }) => schedule)).size, 1);
    const lines = { folder, stdin: "a cat\n# no\na dog" };
    const batch = await runFake(["batch", "-", "--count", "2", "--steps", "1"], lines);
    assertEquals(batch.stages.slice(0, 4), ["openModel", "complete", "complete", "openGpu"]);
    assertEquals(batch.stages.filter((stage) => stage === "complete").length, 2);
  }));

Deno.test("weights too large and a layer that the text encoder does not have are refused", () =>
  inFolder(async (folder) => {
    const huge = ["x", "--negative-prompt", "((ugly:10):11)"];
    assertEquals((await runFake([...huge, "--prompt-syntax", "plain"], { folder })).code, 0);
    const weight = await runFake(huge, { folder });
    assertEquals([weight.code, weight.stages], [2, ["openModel", "complete"]]);
    assertStringIncludes(weight.stderr, '--negative-prompt: The weight of "ugly" is 110, want -100 to 100');
    const { code, stderr, stages } = await runFake(["cat", "--clip-skip", "3"], { folder });
    assertEquals([code, stages], [2, ["openModel", "complete"]]);
    assertStringIncludes(stderr, "--clip-skip 3: the text encoder has layers 1 to 2, not 3");
    assertEquals((await runFake(["tokens", "(x:101)"])).code, 2);
    const last = await runFake(["cat", "--clip-skip", "2", "--json"], { folder });
    assertEquals(JSON.parse(last.stdout).clipSkip, 2);
  }));

Deno.test("words that the model does not read are named", () =>
  inFolder(async (folder) => {
    const long = ["a cat and then a dog", "--negative-prompt", "12345 67890x"];
    const { stderr } = await runFake(long, { folder });
    assertStringIncludes(stderr, 'The prompt has 15 tokens and the model reads 10; cut off: "n a dog"');
    assertStringIncludes(stderr, 'The negative prompt has 11 tokens and the model reads 10; cut off: "x"');
    const chunked = await runFake([...long, "--long-prompt", "chunk"], { folder });
    assert(!chunked.stderr.includes("cut off"), chunked.stderr);
    const broken = await runFake(["a cat BREAK a dog"], { folder });
    assertStringIncludes(broken.stderr, 'The prompt has 8 tokens and the model reads 4; cut off: "a dog"');
    const unguided = await runFake(["a cat", "--negative-prompt", "a dog", "--guidance", "1"], { folder });
    assertStringIncludes(unguided.stderr, "The negative prompt has no effect: guidance is 1\n");
  }));

const failures: readonly (readonly [Error, Stage, number])[] = [
  [new NoGpuError("No usable GPU was found"), "openGpu", 3],
  [new ModelNotFoundError("There is no model"), "openModel", 4],
  [new ModelFileError("unet.safetensors", "is empty"), "openModel", 5],
  [new ModelFileError("vocab.json", "is empty"), "complete", 5],
  [new GpuMemoryError("Out of GPU memory"), "loadPipeline", 6],
  [new GpuMemoryError("Out of GPU memory"), "step", 6],
  [new GpuFailedError("The GPU was lost"), "step", 7],
  [new OutputError("Cannot write to standard output"), "stdout", 8],
  [new Error("Surprise"), "step", 1],
];

Deno.test("each failure has its exit code, one sentence, no stack and no picture", () =>
  inFolder(async (folder) => {
    for (const [error, at, expected] of failures) {
      const before = (stage: Stage) => {
        if (stage === at) throw error;
      };
      const { code, stdout, stderr } = await runFake(["cat", "--quiet", "--output", "-"], { folder, before });
      assertEquals([code, stdout], [expected, ""]);
      const sentence = expected === 1 ? "Unexpected Error: Surprise" : error.message;
      assertEquals(stderr, `denoise: ${sentence}\n`);
      assertEquals([...Deno.readDirSync(folder)], []);

      if (at === "stdout") continue;
      const { name } = error;
      const json = await runFake(["cat", "--json"], { folder, before });
      assertEquals(JSON.parse(json.stdout), { schema: 1, error: { code: expected, name, message: sentence } });
      assertEquals(json.code, expected);
    }
    const tested = new Set(failures.map(([_error, _stage, code]) => code));
    const thrown = exitCodes.filter(({ errors }) => errors !== undefined && !errors.includes("UsageError"));
    assert(thrown.every(({ code }) => tested.has(code)));
  }));

Deno.test("a stack is shown for the unexpected only, and only on request", async () => {
  const before = () => {
    throw new Error("Surprise");
  };
  const variables = { DENOISE_DEBUG: "1" };
  const shown = await runFake(["cat", "--output", "-"], { before, variables });
  assertStringIncludes(shown.stderr, "\n    at ");
  const usage = await runFake(["cat", "--steps", "0"], { before, variables });
  assert(!usage.stderr.includes("    at "));
});

Deno.test("what needs no GPU is refused before the GPU is opened", () =>
  inFolder(async (folder) => {
    const usage = await runFake(["cat", "--steps", "0"], { folder });
    assertEquals([usage.code, usage.stages], [2, []]);
    const output = await runFake(["cat", "--output", "nowhere/cat.png"], { folder });
    assertEquals([output.code, output.stages], [8, []]);
    const both = await runFake(["cat", "--output", "-", "--json"], { folder });
    assertEquals([both.code, both.stages], [2, ["stdout"]]);
    const eta = await runFake(["cat", "--eta", "0.5"], { folder });
    assertEquals([eta.code, eta.stages], [2, ["openModel", "complete"]]);
    assertStringIncludes(eta.stderr, "--eta 0.5: Only these schedulers take eta: ddim, ddim-trailing");
    const own = await runFake(["cat"], { folder, scheduler: "Mystery" });
    assertEquals([own.code, own.stages], [5, ["openModel", "complete"]]);
    assertStringIncludes(own.stderr, 'scheduler_config.json: Scheduler class "Mystery" is not supported');
    const drawn = await runFake(["cat", "--steps", "1"], { folder });
    assertEquals(drawn.stages, ["openModel", "complete", "openGpu", "loadPipeline", "step", "stdout"]);
  }));

Deno.test("tokens shows ids, count and what is cut off", async () => {
  const text = await runFake(["tokens", "a cat and a dog", "--model", "mine"]);
  assertEquals(text.stdout, 'ids: 1 225 99 97 244 97 110 228 225 100 111 2\ncount: 11 of 10\ncut off: "g"\n');
  const short = await runFake(["tokens"], { stdin: "a b" });
  assertEquals(short.stdout, "ids: 1 225 226 2 0 0 0 0 0 0 0 0\ncount: 2 of 10\ncut off: nothing\n");
  const json = await runFake(["tokens", "(a:2)b", "--json"]);
  const chunk = { ids: [1, 225, 226, 2, ...new Array(8).fill(0)], weights: [1, 2, ...new Array(10).fill(1)] };
  assertEquals(JSON.parse(json.stdout), { schema: 1, model: "emoji", chunks: [chunk], count: 2, limit: 10, cut: "" });
});

Deno.test("tokens shows chunks and weights", async () => {
  const { stdout } = await runFake(["tokens", "a (b:1.3) ((c d)) BREAK [e]", "--long-prompt", "chunk"]);
  assertEquals(stdout.split("\n"), [
    "ids: 1 225 226 227 228 2 0 0 0 0 0 0",
    'weight 1.3: "b"',
    'weight 1.21: "c d"',
    "ids: 1 229 2 0 0 0 0 0 0 0 0 0",
    'weight 0.909091: "e"',
    "count: 5 of 20 in 2 chunks",
    "cut off: nothing",
    "",
  ]);
  const plain = await runFake(["tokens", "(b:1.3)", "--prompt-syntax", "plain"]);
  assertEquals(plain.stdout.split("\n")[1], "count: 7 of 10");
});

Deno.test("help names every option and fits 80 columns; exit codes are told once", async () => {
  const all = [["--help"], ["-h"], ["help"], ["--help", "--steps", "0"], ["help", "generate"]];
  for (const args of [...all, ["tokens", "--help", "--json"], ["help", "tokens"]]) {
    const { code, stdout, stderr, stages } = await runFake(args);
    assertEquals([code, stderr, stages], [0, "", ["stdout"]]);
    assertStringIncludes(stdout, 'denoise "a slice of pizza"');
    assert(stdout.split("\n").every((line) => line.length <= 80));
    assertEquals(stdout.includes("--scheduler NAME"), !args.includes("tokens"));
    assertEquals(stdout.includes("Exit codes:"), !args.includes("tokens"));
  }
});

Deno.test("the seed is told when nothing can be refused any more", () =>
  inFolder(async (folder) => {
    for (
      const args of [["--clip-skip", "3"], ["--init-image", "no.png"], ["--eta", "0.5"], ["--output", "no/cat.png"]]
    ) {
      const { code, stderr } = await runFake(["cat", ...args], { folder });
      assertEquals([code > 0, stderr.split("\n").length], [true, 2], stderr);
    }
  }));

Deno.test("--scheduler takes the names of other tools and help; ours is what is told", () =>
  inFolder(async (folder) => {
    const { stdout } = await runFake(["cat", "--json", "--seed", "1", "--scheduler", "dpm++2m karras"], { folder });
    assertEquals(JSON.parse(stdout).scheduler, "dpmpp-2m-karras");
    const shown = await runFake(["show", "cat-1.png", "--json"], { folder });
    const { picture, parameters } = JSON.parse(shown.stdout);
    assertEquals(picture.scheduler, "dpmpp-2m-karras");
    assertStringIncludes(parameters, "Sampler: DPM++ 2M, Schedule type: Karras");
    const help = await runFake(["--scheduler", "help"], { folder });
    assertEquals([help.code, help.stderr, help.stages], [0, "", ["stdout"]]);
    assert(help.stdout.split("\n").every((line) => line.length <= 80));
    const rows = help.stdout.replaceAll(/\n {8,}/g, " ");
    for (const name of schedulerNames()) assert(rows.includes(`\n  ${name} `), name);
    assertStringIncludes(rows, "second order; 2 evaluations of the model a step [Heun, HeunDiscreteScheduler]");
  }));

Deno.test("--count makes pictures of the seeds that follow", () =>
  inFolder(async (folder) => {
    const { code, stdout, stderr } = await runFake(["cat", "--count", "3", "--seed", "9"], { folder });
    assertEquals([code, stdout], [0, "cat-9.png\ncat-10.png\ncat-11.png\n"]);
    assertStringIncludes(stderr, "Seed 9 to 11\n");
    const named = await runFake(["cat", "--count", "2", "--seed", "9", "--output", "{index}.png"], { folder });
    assertEquals(named.stdout, "0001.png\n0002.png\n");
    for (const [output, words] of [["one.png", "would both go to one.png"], ["-", "takes one picture"]] as const) {
      const refused = await runFake(["cat", "--count", "2", "--output", output], { folder });
      assertEquals([refused.code, refused.stages], [2, []]);
      assertStringIncludes(refused.stderr, words);
    }
  }));
