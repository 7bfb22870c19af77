import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { type BenchReport, drawChart, writeReport } from "../../cli/bench_report.ts";
import { run } from "../../cli/run.ts";
import type { KernelRate } from "../../pipeline/bench/mod.ts";
import { AUTO, BASELINE } from "../../pipeline/optimizations.ts";
import { fakeEnvironment } from "./fake_environment.ts";

async function bench(...args: readonly string[]) {
  const environment = fakeEnvironment();
  const code = await run(["bench", ...args], environment);
  return { code, ...environment.written };
}

const WRONG: readonly (readonly [args: readonly string[], words: string])[] = [
  [["a cat"], 'bench takes no prompt, got "a cat"'],
  [["--model", "emoji", "--random-weights", "sd14"], "--model and --random-weights both name a model"],
  [["--random-weights", "sd15"], 'must be one of sd14, sdxl, got "sd15"'],
  [["--ablation", "--list-kernels"], "--ablation and --list-kernels are two measurements"],
  [["--check"], "--check needs --random-weights"],
  [["--check", "--ablation", "--random-weights", "sd14"], "--check and --ablation are two measurements"],
  [["--memory", "0"], "--memory must be a number from 0.1 to 1024, got"],
  [["--output", "chart.svg"], "--output needs --ablation"],
  [["--ablation", "--output", "-"], "name a file"],
  [["--ablation", "--output", "chart.png"], "name a file that ends in .svg, not chart.png"],
  [["--kernels", "fast"], "--kernels must be one of auto, paper, baseline, then any of softmax"],
  [["--seed", "7"], "--seed is not an option of denoise bench: it belongs to denoise and denoise batch"],
];

Deno.test("wrong usage of bench is refused before anything is measured", async () => {
  for (const [args, words] of WRONG) {
    const { code, stdout, stderr } = await bench(...args);
    assertEquals([code, stdout], [2, ""], args.join(" "));
    assertStringIncludes(stderr, words);
  }
  const elsewhere = await run(["a cat", "--ablation"], fakeEnvironment());
  assertEquals(elsewhere, 2);
});

Deno.test("bench --json prints everything that was measured", async () => {
  const small = ["--steps", "1", "--width", "64", "--height", "64"];
  const { code, stdout, stderr } = await bench("--json", "--kernels", "baseline", ...small);
  assertEquals(code, 0, stderr);
  const { adapter, ceilings, pipelines, stages, operations, rates, ...rest } = JSON.parse(stdout);
  const { schema, model, width, height, steps, guidance, precision, kernels, deno, load, peakBytes, stageBytes } = rest;
  assertEquals([schema, model, width, height, steps, guidance, precision], [1, "emoji", 64, 64, 1, 1.5, "auto"]);
  assertEquals([kernels, deno], [BASELINE, Deno.version.deno]);
  assertEquals(Object.keys(adapter), ["description", "vendor", "architecture", "software", "webgpu"]);
  assert([ceilings.before, ceilings.after].every(({ teraflops, gigabytes }) => teraflops > 0 && gigabytes > 0));
  assert(pipelines.count > 10 && pipelines.milliseconds > 0 && load > 0 && peakBytes > 1e6);
  assertEquals(Object.keys(stageBytes), ["text", "denoise", "decode"]);
  assertEquals(Object.keys(stages), ["text", "step", "decode", "picture", "evaluations", "first"]);
  assert(rates.length >= 5 && rates.every(({ flops, milliseconds }: KernelRate) => flops > 0 && milliseconds > 0));
  for (const stage of [operations.step, operations.decode]) {
    const times: number[] = stage.map(({ milliseconds }: { milliseconds: number }) => milliseconds);
    assert(times.length > 10 && times.every((time, i) => time > 0 && (i === 0 || time <= times[i - 1]!)));
  }
});

const spread = (low: number) => ({ low, median: 1.5 * low, count: 5 });
const times = (low: number) => ({
  text: spread(1),
  step: spread(low),
  decode: spread(2 * low),
  picture: spread(30 * low),
  evaluations: 21,
  first: 1000,
});
const ceilings = { teraflops: 60, gigabytes: 2990 };
const REPORT: BenchReport = {
  schema: 1,
  version: "1.2.3",
  deno: "2.9.6",
  driver: "580.1",
  adapter: { description: 'Card <"A&B">', vendor: "", architecture: "", software: false, webgpu: "Deno 2.9.6" },
  model: "sd14",
  width: 512,
  height: 512,
  steps: 20,
  guidance: 7.5,
  precision: "auto",
  kernels: AUTO,
  ceilings: { before: ceilings, after: { ...ceilings, teraflops: 0.05 } },
  load: 1234,
  pipelines: { count: 40, milliseconds: 567 },
  peakBytes: 2 ** 30,
  stageBytes: { text: 2 ** 28, decode: 3 * 2 ** 29 },
};
const ROWS = [
  { name: "baseline", kernels: BASELINE, times: times(100) },
  { name: "+ all", kernels: AUTO, times: times(47.8) },
  { name: "worse", kernels: AUTO, times: times(110) },
];

/** The lines of a text, spaces between columns as one. */
function lines(text: string): readonly string[] {
  return text.split("\n").map((line) => line.replace(/ {2,}/g, " "));
}

Deno.test("the report's numbers have units, and rates are those of the definition", () => {
  const operation = {
    operation: "linear 2 to 4",
    elements: "f32 x f16",
    kernels: "product",
    flops: 8e9,
    bytes: 1,
    count: 4,
    launches: 4,
  };
  const norm = {
    operation: "group norm",
    elements: "f32",
    kernels: "one shader",
    flops: 0,
    bytes: 3e6,
    count: 1,
    launches: 1,
  };
  const step = [{ ...operation, milliseconds: 0.9 }, { ...norm, milliseconds: 0.1 }];
  const choice = {
    ...norm,
    kernels: [{ name: "separate", milliseconds: 2, chosen: false }, { name: "one", milliseconds: 1, chosen: true }],
    by: "timing",
  } as const;
  const { by: _, ...forced } = choice;
  const text = lines(writeReport({
    ...REPORT,
    stages: times(100),
    operations: { step, decode: [] },
    ablation: ROWS,
    choices: [choice, { ...choice, by: "table" }, forced],
    check: [
      { name: "UNet", error: 3.69e-6, allowed: 1e-3 },
      { name: "decoder", error: NaN, allowed: 1e-3 },
    ],
  }));
  for (
    const line of [
      'Card <"A&B">, driver 580.1',
      "denoise 1.2.3, Deno 2.9.6",
      "Reached 60.0 TFLOP/s in registers and 2.99 TB/s copied before, 50.0 GFLOP/s in registers and 2.99 TB/s copied after",
      "Loaded in 1.23 s; 40 pipelines made in 0.567 s; at most 1.00 GiB of GPU memory, by itself text 0.25 GiB, decode 1.50 GiB",
      "one step 100 150 5",
      "One step: 1.00 ms times ms share rate of ceiling",
      "linear 2 to 4, product 4 0.90 90.0 % 8.89 TFLOP/s 15 %",
      "group norm, one shader 1 0.10 10.0 % 30.0 GB/s 1 %",
      "baseline 100 200 3000",
      "+ all 47.80 -52.2 % 95.60 1434 -52.2 %",
      "worse 110 +10.0 % 220 3300 +10.0 %",
      "* one 1.00 3.00 GB/s timing",
      "* one 1.00 3.00 GB/s table",
      "* one 1.00 3.00 GB/s option",
      " separate 2.00 1.50 GB/s",
      "UNet 3.7e-6 1e-3 right",
      "decoder NaN 1e-3 WRONG",
    ]
  ) assert(text.includes(line), `${line} is not in\n${text.join("\n")}`);
});

Deno.test("the chart is well-formed XML with a bar of three parts for each row", () => {
  const svg = drawChart({ ...REPORT, ablation: ROWS });
  const open: string[] = [];
  const tag = /<(\/?)([a-z]+)((?: [a-zA-Z-]+="[^"<&]*")*) ?(\/?)>/g;
  const between = svg.replace(tag, (_all, closes: string, name: string, _attributes: string, empty: string) => {
    if (closes) assertEquals(open.pop(), name);
    else if (!empty) open.push(name);
    return "";
  });
  assertEquals(open, []);
  assert(!/<|&(?!amp;|lt;)/.test(between), between);
  assertStringIncludes(between, 'Card &lt;"A&amp;B">');
  assertStringIncludes(between, "1.43 s, -52.2 %");
  // The longest bar is as wide as bars may be; denoising is its first 21 of 33 parts.
  const widths = [...svg.matchAll(/width="([\d.]+)" height="22"/g)].map(([, width]) => Number(width));
  assertEquals(widths.length, 9);
  assertEquals(widths.slice(6).reduce((a, b) => a + b, 0).toFixed(0), "400");
  assertEquals(widths[6], 400 * 21 / 30);
});
