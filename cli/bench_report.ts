/**
 * What `denoise bench` found, as data and as text.
 * @module
 */
import type {
  AblationRow,
  Ceilings,
  Choice,
  KernelRate,
  OperationTime,
  Spread,
  StageOperations,
  StageTimes,
} from "../pipeline/bench/mod.ts";
import type { AdapterInfo, Deviation, Precision } from "../pipeline/mod.ts";
import type { Optimizations } from "../pipeline/optimizations.ts";
import type { Build } from "./build.ts";

/** The document of `bench --json`; times are milliseconds. */
export interface BenchReport extends Build {
  readonly schema: 1;
  readonly adapter: AdapterInfo;
  readonly model: string;
  readonly width: number;
  readonly height: number;
  readonly steps: number;
  readonly guidance: number;
  readonly precision: Precision;
  readonly kernels: Optimizations;
  /** What the machine reached before and after: where they differ it was disturbed. */
  readonly ceilings: { readonly before: Ceilings; readonly after: Ceilings };
  /** Reading weights and sending them to the GPU. */
  readonly load: number;
  readonly pipelines: { readonly count: number; readonly milliseconds: number };
  readonly peakBytes: number;
  readonly stages?: StageTimes;
  readonly operations?: StageOperations;
  /** Kernels on shapes that are those of no model. */
  readonly rates?: readonly KernelRate[];
  readonly ablation?: readonly AblationRow[];
  readonly choices?: readonly Choice[];
  /** How far each stage is from what diffusers computed. */
  readonly check?: readonly Deviation[];
}

/** Operations that the text shows of each stage; JSON has all. */
const SHOWN = 20;

/** The report for people. */
export function writeReport(report: BenchReport): string {
  const { stages, operations, rates, ablation, choices, check } = report;
  return [
    describe(report),
    ...(stages ? [writeStages(stages)] : []),
    ...(operations ? [writeOperations(report, "One step", operations.step)] : []),
    ...(operations ? [writeOperations(report, "Decode", operations.decode)] : []),
    ...(rates ? [writeRates(report, rates)] : []),
    ...(ablation ? [writeAblation(ablation)] : []),
    ...(choices ? [writeChoices(choices)] : []),
    ...(check ? [writeCheck(check)] : []),
  ].join("\n");
}

function describe(report: BenchReport): string {
  const { adapter, driver, version, commit, ceilings, pipelines } = report;
  const [before, after] = [ceilings.before, ceilings.after].map(({ teraflops, gigabytes }) =>
    `${rate(teraflops * 1e12, "FLOP")} in registers and ${rate(gigabytes * 1e9, "B")} copied`
  );
  return [
    `${adapter.description}${driver ? `, driver ${driver}` : ""}`,
    `denoise ${version}${commit ? ` at ${commit}` : ""}, Deno ${report.deno}`,
    `${report.model}, ${report.width}x${report.height}, ${report.steps} steps, guidance ${report.guidance}`,
    `Reached ${before} before, ${after} after`,
    `Loaded in ${seconds(report.load)}; ${pipelines.count} pipelines made in ${seconds(pipelines.milliseconds)}; ` +
    `at most ${Math.ceil(report.peakBytes / 2 ** 20)} MiB of GPU memory`,
    "",
  ].join("\n");
}

function writeStages({ text, step, decode, picture, first }: StageTimes): string {
  const row = (name: string, { low, median, count }: Spread) => [name, number(low), number(median), `${count}`];
  return table(["Stage", "ms", "median", "times"], [
    row("text encoder", text),
    row("one step", step),
    row("decode", decode),
    row("whole picture", picture),
    ["first picture", number(first), number(first), "1"],
  ]);
}

function writeOperations({ ceilings }: BenchReport, stage: string, operations: readonly OperationTime[]): string {
  const total = operations.reduce((sum, { milliseconds }) => sum + milliseconds, 0);
  const rows = operations.slice(0, SHOWN).map((operation) => {
    const { count, milliseconds } = operation;
    const share = `${(100 * milliseconds / total).toFixed(1)} %`;
    const name = `${operation.operation}, ${operation.kernels}`;
    const reached = ceilingPercent(operation, ceilings);
    return [name, `${count}`, number(milliseconds), share, operationRate(operation, milliseconds), reached];
  });
  return table([`${stage}: ${number(total)} ms`, "times", "ms", "share", "rate", "of ceiling"], rows);
}

function writeRates({ ceilings }: BenchReport, rates: readonly KernelRate[]): string {
  const rows = rates.map(({ name, elements, flops, milliseconds }) => {
    const operation = { flops, bytes: 0, milliseconds };
    return [
      `${name}, ${elements}`,
      number(milliseconds),
      operationRate(operation, milliseconds),
      ceilingPercent(operation, ceilings),
    ];
  });
  return table(["Kernel", "ms", "rate", "of ceiling"], rows);
}

function writeAblation(rows: readonly AblationRow[]): string {
  const cells = rows.map(({ name, times }, i) => {
    const picture = number(times.picture.low);
    return [
      name,
      number(times.step.low),
      i === 0 ? "" : percent(reductionOf(rows, i, "step")),
      number(times.decode.low),
      picture,
      i === 0 ? "" : percent(reductionOf(rows, i)),
    ];
  });
  return table(["", "one step ms", "reduction", "decode ms", "picture ms", "reduction"], cells);
}

function writeChoices(choices: readonly Choice[]): string {
  const rows = choices.flatMap((choice) => [
    [choice.operation, "", "", ""],
    ...choice.kernels.toSorted((a, b) => a.milliseconds - b.milliseconds).map(({ name, milliseconds, chosen }) => [
      `${chosen ? "* " : "  "}${name}`,
      number(milliseconds),
      operationRate(choice, milliseconds),
      chosen ? choice.by ?? "option" : "",
    ]),
  ]);
  return table(["Operation, and its kernels; * runs", "ms", "rate", "chosen by"], rows);
}

function writeCheck(deviations: readonly Deviation[]): string {
  const rows = deviations.map(({ name, error, allowed }) => [
    name,
    error.toExponential(1),
    allowed.toExponential(0),
    error <= allowed ? "right" : "WRONG",
  ]);
  return table(["Compared with diffusers", "relative error", "allowed", ""], rows);
}

/** How much less time the picture of a row, or a step of it, takes than that of the first, from 0 to 1. */
export function reductionOf(
  rows: readonly AblationRow[],
  index: number,
  stage: "picture" | "step" = "picture",
): number {
  return 1 - rows[index]!.times[stage].low / rows[0]!.times[stage].low;
}

/** A reduction as the paper writes it, `-52.2 %`. */
export function percent(reduction: number): string {
  return `${reduction < 0 ? "+" : "-"}${Math.abs(100 * reduction).toFixed(1)} %`;
}

/** Milliseconds as seconds. */
export function seconds(milliseconds: number): string {
  return `${(milliseconds / 1000).toPrecision(3)} s`;
}

function number(milliseconds: number): string {
  return milliseconds.toFixed(milliseconds < 100 ? 2 : 0);
}

/**
 * How much of what the machine reached without a model an operation reaches, of arithmetic where it has any, otherwise of
 * memory. Winograd, which multiplies less than the definition, and data in caches can be above 1.
 */
function ceilingPercent(
  { flops, bytes, milliseconds }: Pick<OperationTime, "flops" | "bytes" | "milliseconds">,
  { before, after }: BenchReport["ceilings"],
): string {
  const most = (name: "teraflops" | "gigabytes") => Math.max(before[name], after[name]);
  const share = flops > 0
    ? flops / milliseconds / 1e9 / most("teraflops")
    : bytes / milliseconds / 1e6 / most("gigabytes");
  return `${(100 * share).toFixed(0)} %`;
}

/** What an operation reaches: arithmetic where it has any, otherwise memory. */
function operationRate({ flops, bytes }: Pick<OperationTime, "flops" | "bytes">, milliseconds: number): string {
  if (flops > 0) return rate(1000 * flops / milliseconds, "FLOP");
  return bytes > 0 ? rate(1000 * bytes / milliseconds, "B") : "";
}

function rate(perSecond: number, unit: string): string {
  const [size, prefix] = perSecond >= 1e12 ? [1e12, "T"] : [1e9, "G"];
  return `${(perSecond / size).toPrecision(3)} ${prefix}${unit}/s`;
}

/** Columns as wide as they need to be, the first to the left, the others to the right. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const widths = head.map((name, i) => Math.max(name.length, ...rows.map((row) => row[i]!.length)));
  const line = (cells: readonly string[]) =>
    cells.map((cell, i) => i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!)).join("  ").trimEnd();
  return [head, ...rows].map((cells) => `${line(cells)}\n`).join("");
}
