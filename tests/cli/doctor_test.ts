import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { adviseOn } from "../../cli/doctor_report.ts";
import { run } from "../../cli/run.ts";
import { GpuFailedError, NoGpuError } from "../../kernels/errors.ts";
import { runDenoise } from "./denoise_process.ts";
import { fakeEnvironment, type FakeWorld, HEALTHY } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

async function doctor(world: FakeWorld, ...args: string[]) {
  const environment = fakeEnvironment(world);
  const code = await run(["doctor", ...args], environment);
  return { code, ...environment.written };
}

Deno.test("the real machine is examined, in words and as JSON", async () => {
  const words = await runDenoise(["doctor"]);
  assertEquals([words.code, words.stderr], [0, ""]);
  for (
    const line of [
      "GPU: ",
      "  kernels: ",
      "Self-tests\n  right: float32",
      "Models\n  emoji, 4",
      "emoji at 256x256: text 0.0",
    ]
  ) {
    assertStringIncludes(words.stdout, line);
  }
  assert(!words.stdout.includes("WRONG"));
  const json = await runDenoise(["doctor", "--json"]);
  const { schema, deno, adapter, tests, models, limits } = JSON.parse(json.stdout);
  assertEquals([json.code, schema, deno, models[0].name], [0, 1, Deno.version.deno, "emoji"]);
  assert(adapter.description.length > 0 && tests.length >= 2 && limits.maxBufferSize >= 2 ** 28);
});

Deno.test("without a GPU the rest is told, and the exit code is 3", async () => {
  for (const [error, code] of [[new NoGpuError("Nothing there"), 3], [new GpuFailedError("It died"), 7]] as const) {
    const before = () => {
      throw error;
    };
    const world = { before: (stage: string) => stage === "openGpu" && before() };
    const words = await doctor(world);
    assertEquals([words.code, words.stderr], [code, ""]);
    assertStringIncludes(words.stdout, `GPU: none that works\n  ${error.message}\nModels\n  emoji`);
    const json = await doctor(world, "--json");
    const { problem, adapter, tests } = JSON.parse(json.stdout);
    assertEquals([json.code, problem, adapter, tests], [code, error.message, undefined, undefined]);
  }
});

Deno.test("a GPU that returns wrong results: exit code 7", async () => {
  const tests = [{ name: "float32 sums" }, { name: "float16 arithmetic", failure: "value 0 is 0, and must be 3.5" }];
  const { code, stdout } = await doctor({ examination: { ...HEALTHY, tests } });
  assertEquals(code, 7);
  assertStringIncludes(stdout, "  right: float32 sums\n  WRONG: float16 arithmetic: value 0 is 0, and must be 3.5\n");
  assertStringIncludes(stdout, "--precision f32 does without it");
});

Deno.test("caches are measured; a file that is linked to is counted once", () =>
  inFolder(async (folder) => {
    const blobs = join(folder, "denoise", "hub", "models--a--b", "blobs");
    Deno.mkdirSync(blobs, { recursive: true });
    Deno.writeFileSync(join(blobs, "x"), new Uint8Array(5_000_000));
    Deno.symlinkSync(join(blobs, "x"), join(folder, "denoise", "link"));
    Deno.writeFileSync(join(folder, "denoise", "kernels.json"), new Uint8Array(1000));
    const variables = { XDG_CACHE_HOME: folder, HF_HOME: join(folder, "absent") };
    const { caches } = JSON.parse((await doctor({ variables }, "--json")).stdout);
    assertEquals(caches, [
      { owner: "denoise", folder: join(folder, "denoise"), bytes: 5_001_000 },
      { owner: "Hugging Face", folder: join(folder, "absent", "hub"), bytes: 0 },
    ]);
  }));

Deno.test("advice is given for what is wrong or slow, and only then", () => {
  const adapter = { description: "Card", vendor: "", architecture: "", software: false, webgpu: "Dawn 0.6.2" };
  const matrices = [{ m: 16, n: 16, k: 16 }];
  const caches = [{ owner: "denoise", folder: "/", bytes: 0 }] as const;
  const found = {
    schema: 1,
    version: "1",
    deno: "2.9.0",
    providers: [],
    adapter,
    matrices,
    ...HEALTHY,
    models: [],
    caches,
  } as const;
  assertEquals(adviseOn(found), []);
  const lacking = { "shader-f16": false, "timestamp-query": false, "subgroups": false };
  const cases = [
    [{ deno: "2.8.3" }, ["Deno 2.8.3 is older than 2.9"]],
    [{ deno: "1.46.0" }, ["Deno 1.46.0 is older"]],
    [{ deno: "3.0.0" }, []],
    [{ adapter: { ...adapter, software: true } }, ["This GPU is a software renderer"]],
    [{ adapter: { ...adapter, webgpu: "Deno 2.9.6" } }, ["Deno's own WebGPU does not reach a GPU's tensor cores"]],
    [{ matrices: [] }, ["This GPU and its driver offer Dawn no matrices"]],
    [{ features: lacking }, ["Without shader-f16", "Without subgroups", "Without timestamp-query"]],
    [{ limits: { maxStorageBufferBindingSize: 2 ** 27 } }, ["This GPU binds at most 128 MiB at once"]],
    [{ tests: [{ name: "float32", failure: "so" }] }, ["This GPU returns wrong results"]],
    [{ caches: [] }, ["There is no cache folder"]],
    [
      { adapter: { ...adapter, software: true }, kernels: { backend: "buffer", why: "" } },
      ["This GPU is a software renderer", "Kernels that read buffers are slow"],
    ],
  ] as const;
  for (const [changes, beginnings] of cases) {
    const advice = adviseOn({ ...found, ...changes });
    assertEquals(advice.length, beginnings.length, advice.join("\n"));
    beginnings.forEach((beginning, i) => assertStringIncludes(advice[i]!, beginning));
  }
});
