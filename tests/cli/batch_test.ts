import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { PNG } from "pngjs";
import { Buffer } from "node:buffer";
import { GpuFailedError } from "../../kernels/errors.ts";
import { run } from "../../cli/run.ts";
import { fakeEnvironment, type FakeWorld, type Stage } from "./fake_environment.ts";
import { inFolder, withFolder } from "./temporary_folder.ts";

/** Runs `denoise batch` over `lines` in a folder of its own and tells what is there afterwards. */
function runBatch(lines: readonly string[], args: readonly string[] = [], world: FakeWorld = {}) {
  return world.folder === undefined ? inFolder(runIn) : runIn(world.folder);

  async function runIn(folder: string) {
    const environment = fakeEnvironment({ ...world, folder, stdin: lines.join("\n") });
    const code = await run(["batch", "-", ...args], environment);
    const names = [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
    return { code, ...environment.written, stages: environment.stages, names };
  }
}

function documents(stdout: string) {
  return stdout.trimEnd().split("\n").map((line) => JSON.parse(line));
}

const LINES = [
  "A red apple",
  "# a comment",
  '{"prompt": "a blue fish", "seed": 7, "steps": 2, "width": 128}',
  '{"prompt": "a tree", "count": 2}',
  "",
  "a dog",
];

Deno.test("each line is a picture, its options over those of the command, one model for all", async () => {
  const { code, stdout, stages } = await runBatch(LINES, ["--seed", "100", "--steps", "3", "--json"]);
  assertEquals(code, 0);
  const made = documents(stdout);
  assertEquals(made.map(({ index, line, path }) => [index, line, path]), [
    [1, 1, "0001-100-a-red-apple.png"],
    [2, 3, "0002-7-a-blue-fish.png"],
    [3, 4, "0003-102-a-tree.png"],
    [4, 4, "0004-103-a-tree.png"],
    [5, 6, "0005-104-a-dog.png"],
  ]);
  assertEquals(made.map(({ steps, width, status }) => [steps, width, status])[1], [2, 128, "ok"]);
  assertEquals(made[0].steps, 3);
  assertEquals(made[0].timings.load > 0, true);
  assertEquals(made.slice(1).map(({ timings }) => timings.load), [0, 0, 0, 0]);
  for (const once of ["openModel", "openGpu", "loadPipeline"] as const) {
    assertEquals(stages.filter((stage) => stage === once).length, 1);
  }
});

Deno.test("without --seed a batch counts from 0; a template names the files", async () => {
  const { stdout } = await runBatch(LINES, ["--output", "{slug}_{index}-{seed}.png"]);
  assertEquals(stdout.trimEnd().split("\n"), [
    "a-red-apple_0001-0.png",
    "a-blue-fish_0002-7.png",
    "a-tree_0003-2.png",
    "a-tree_0004-3.png",
    "a-dog_0005-4.png",
  ]);
});

Deno.test("shards share the lines out and give the same files as one run", async () => {
  const all = await runBatch(LINES, ["--seed", "5"]);
  const shards = await Promise.all(
    [1, 2, 3].map((number) => runBatch(LINES, ["--seed", "5", "--shard", `${number}/3`])),
  );
  assertEquals(shards.map(({ names }) => names.length), [2, 1, 2]);
  assertEquals(shards.flatMap(({ names }) => names).sort(), all.names);
  const empty = await runBatch(LINES, ["--shard", "5/5"]);
  assertEquals([empty.code, empty.stdout, empty.stages], [0, "", []]);
});

Deno.test(
  "--skip-existing makes the rest, and nothing is opened when nothing is left",
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "0002-7-a-blue-fish.png"), "made before");
    const first = await runBatch(LINES, ["--skip-existing"], { folder });
    assertEquals([first.code, first.stdout.trimEnd().split("\n").length], [0, 4]);
    assertEquals(Deno.readTextFileSync(join(folder, "0002-7-a-blue-fish.png")), "made before");
    const second = await runBatch(LINES, ["--skip-existing", "--json"], { folder });
    assertEquals(documents(second.stdout).map(({ status }) => status), Array(5).fill("skipped"));
    assert(!second.stages.includes("openGpu"));
  }),
);

const WRONG = ["a cat", '{"prompt": "a dog", "steps": 0}', '{"prompt": "a fox", "model": "other"}', "a hen"];

Deno.test("a wrong line is named and ends the batch before anything is opened", async () => {
  const { code, stderr, names, stages } = await runBatch(WRONG);
  assertEquals([code, names, stages], [2, [], []]);
  assertStringIncludes(stderr, 'denoise: Line 2: --steps must be a whole number from 1 to 1000, got "0"');
  const model = await runBatch(WRONG.slice(2));
  assertStringIncludes(
    model.stderr,
    'Line 1: model is "other", but a batch loads one model: give --model for all lines',
  );
  assertEquals((await runBatch(WRONG.slice(2), ["--model", "other"])).code, 0);
});

Deno.test("--continue-on-error reports wrong lines as JSON and makes the others", async () => {
  const { code, stdout, names } = await runBatch(WRONG, ["--continue-on-error"]);
  assertEquals([code, names], [2, ["0001-0-a-cat.png", "0004-3-a-hen.png"]]);
  const [first, ...rest] = stdout.trimEnd().split("\n");
  assertEquals([first, rest[2]], names);
  const [steps, model] = rest.slice(0, 2).map((line) => JSON.parse(line));
  assertEquals([steps.status, steps.index, steps.line, steps.error.code], ["error", 2, 2, 2]);
  assertEquals([model.line, model.error.name], [3, "UsageError"]);
  const json = await runBatch(WRONG, ["--continue-on-error", "--json"]);
  assertEquals(documents(json.stdout).map(({ status }) => status), ["ok", "error", "error", "ok"]);
});

Deno.test("the exit code is that of the failures when they share one, or 1", async () => {
  let steps = 0;
  const world: FakeWorld = {
    before: (stage: Stage) => {
      if (stage === "step" && ++steps === 2) throw new GpuFailedError("The GPU was lost");
    },
  };
  const alike = await runBatch(["a cat", "a dog", "a hen"], ["--continue-on-error", "--steps", "1"], world);
  assertEquals([alike.code, alike.names], [7, ["0001-0-a-cat.png", "0003-2-a-hen.png"]]);
  assertEquals(alike.stages.filter((stage) => stage === "openGpu").length, 2);
  steps = 0;
  const mixed = await runBatch(["a cat", "a dog", '{"prompt": "x", "seed": -1}'], [
    "--continue-on-error",
    "--steps=1",
  ], world);
  assertEquals(mixed.code, 1);
  steps = 0;
  const stopped = await runBatch(["a cat", "a dog", "a hen"], ["--steps", "1"], world);
  assertEquals([stopped.code, stopped.names], [7, ["0001-0-a-cat.png"]]);
});

Deno.test("what a batch cannot do is refused before it starts", async () => {
  for (
    const [lines, args, words] of [
      [["a cat"], ["--output", "-"], "standard output takes one"],
      [['{"prompt": "a cat", "output": "-"}'], [], "standard output takes one"],
      [
        ["a cat", "a dog"],
        ["--output", "cat.png"],
        "Picture 1 of line 1 and Picture 2 of line 2 would both go to cat.png",
      ],
      [["a cat"], ["--output", "{sed}.png"], "--output cannot fill in {sed}: did you mean {seed}?"],
      [["a cat"], ["--shard", "3/2"], '--shard must be I/N with I from 1 to N, such as 2/4, got "3/2"'],
      [["a cat"], ["--shard", "0/2"], "--shard must be I/N"],
      [
        ["a cat", "a dog"],
        ["--seed", `${2n ** 64n - 1n}`],
        "Line 2: --count 1 from seed 18446744073709551616 exceeds the largest seed, 18446744073709551615",
      ],
      [["", "# only this"], [], "no line asks for a picture"],
    ] as const
  ) {
    const { code, stderr, stages } = await runBatch(lines, args);
    assertEquals([code, stages], [2, []], words);
    assertStringIncludes(stderr, words);
  }
  const nowhere = await runBatch(["a cat"], ["--output", "nowhere/{seed}.png"]);
  assertEquals([nowhere.code, nowhere.stages], [8, []]);
  const missing = fakeEnvironment();
  assertEquals(await run(["batch", "missing.txt"], missing), 2);
  assertStringIncludes(missing.written.stderr, "denoise: Cannot read the batch missing.txt: there is no such file");
});

Deno.test(
  "--grid puts all pictures on one, those that were there included",
  withFolder(async (folder) => {
    const args = ["--grid", "sheet.png", "--skip-existing"];
    await runBatch(["a cat", "a dog"], args, { folder });
    const size = () => {
      const { width, height } = PNG.sync.read(Buffer.from(Deno.readFileSync(join(folder, "sheet.png"))));
      return [width, height];
    };
    assertEquals(size(), [2 * 72 + 8, 80 + 8]);
    await runBatch(["a cat", "a dog", "a hen"], args, { folder });
    assertEquals(size(), [2 * 72 + 8, 2 * 80 + 8]);
    Deno.writeTextFileSync(join(folder, "0001-0-a-cat.png"), "damaged");
    const damaged = await runBatch(["a cat"], args, { folder });
    assertEquals(damaged.code, 2);
    assertStringIncludes(damaged.stderr, "0001-0-a-cat.png cannot go on the contact sheet: ");
  }),
);

Deno.test(
  "--dry-run says what would be made, as JSON with all that decides it, and opens no GPU",
  withFolder(async (folder) => {
    Deno.writeTextFileSync(join(folder, "0002-7-a-blue-fish.png"), "made before");
    const dry = await runBatch(LINES, ["--dry-run", "--steps", "3"], { folder });
    const names = ["0001-0-a-red-apple", "0002-7-a-blue-fish", "0003-2-a-tree", "0004-3-a-tree", "0005-4-a-dog"];
    assertEquals([dry.code, dry.stdout], [0, names.map((name) => `${name}.png\n`).join("")]);
    assert(!dry.stages.includes("openGpu"));
    assertEquals(dry.names, ["0002-7-a-blue-fish.png"]);
    const args = ["--dry-run", "--json", "--skip-existing", "--continue-on-error", "--steps", "3"];
    const lines = [...LINES, '{"prompt": "x", "clip-skip": 9}', '{"prompt": "x", "steps": 0}'];
    const json = await runBatch(lines, args, { folder });
    const [first, second, ...rest] = documents(json.stdout);
    const { seed, prompt, steps, width, guidance, scheduler, path, sha256, adapter } = first;
    assertEquals([seed, prompt, steps, width, guidance, scheduler], [
      "0",
      "A red apple",
      3,
      64,
      1.5,
      "EulerDiscreteScheduler",
    ]);
    assertEquals([path, sha256, adapter], ["0001-0-a-red-apple.png", undefined, undefined]);
    assertEquals([first, second, ...rest].map(({ status }) => status), [
      "planned",
      "skipped",
      "planned",
      "planned",
      "planned",
      "error",
      "error",
    ]);
    assertEquals(json.code, 2);
    const drawn = documents((await runBatch(LINES, ["--json", "--steps", "3"])).stdout);
    const { timings: _, sha256: _hash, adapter: _adapter, peakBytes: _bytes, ...same } = drawn[0];
    assertEquals({ ...same, status: "planned" }, first);
  }),
);

Deno.test("errors are told under --quiet, and a terminal that is waited for is told so", async () => {
  const { code, stderr } = await runBatch(WRONG, ["--continue-on-error", "--quiet"]);
  assertEquals(code, 2);
  assertEquals(stderr.split("\n").map((line) => line.slice(0, 16)), ["denoise: Line 2:", "denoise: Line 3:", ""]);
  const waiting = fakeEnvironment();
  assertEquals(await run(["batch", "-"], waiting), 2);
  assertStringIncludes(
    waiting.written.stderr,
    "Reading lines from the terminal until Ctrl-D\ndenoise: The batch is empty",
  );
});
