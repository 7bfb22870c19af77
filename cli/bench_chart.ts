/**
 * The paper's table as a picture.
 * @module
 */
import type { AblationRow } from "../pipeline/bench/mod.ts";
import { type BenchReport, percent, reductionOf, seconds } from "./bench_report.ts";

/** Pixels. */
const WIDTH = 840;
const NAMES = 264;
const BARS = 400;
const ROW = 34;
const TOP = 84;

/** Parts of a bar, from the left: names and colours that differ in brightness, too. */
const PARTS = [
  { name: "denoising", colour: "#1f5fa8" },
  { name: "VAE decoder", colour: "#6fa8dc" },
  { name: "everything else", colour: "#cfd8e3" },
] as const;

/** An SVG of the whole picture's time, a bar for each row of the report's ablation. */
export function drawChart(report: BenchReport): string {
  const rows = report.ablation ?? [];
  const longest = Math.max(...rows.map(({ times }) => times.picture.low));
  const { adapter, model, width, height, steps } = report;
  const bottom = TOP + rows.length * ROW + 16;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${WIDTH}" height="${bottom}" viewBox="0 0 ${WIDTH} ${bottom}" ` +
    `font-family="sans-serif" font-size="14">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    text(16, 28, `${model}, ${width}x${height}, ${steps} steps`, `font-size="17" font-weight="bold"`),
    text(16, 50, adapter.description),
    ...legend(),
    ...rows.flatMap((_, i) => bar(rows, i, BARS / longest)),
    "</svg>\n",
  ].join("\n");
}

function legend(): readonly string[] {
  return PARTS.flatMap(({ name, colour }, i) => {
    const x = NAMES + 150 * i;
    return [rectangle(x, TOP - 24, 12, 12, colour), text(x + 18, TOP - 13, name)];
  });
}

function bar(rows: readonly AblationRow[], index: number, scale: number): readonly string[] {
  const { name, times } = rows[index]!;
  const { step, decode, picture, evaluations } = times;
  const y = TOP + index * ROW;
  const known = [evaluations * step.low, decode.low];
  const parts = [...known, Math.max(0, picture.low - known[0]! - known[1]!)];
  const starts = parts.map((_, i) => NAMES + scale * parts.slice(0, i).reduce((a, b) => a + b, 0));
  const label = `${seconds(picture.low)}${index === 0 ? "" : `, ${percent(reductionOf(rows, index))}`}`;
  return [
    text(16, y + 20, name),
    ...parts.map((part, i) => rectangle(starts[i]!, y + 5, scale * part, ROW - 12, PARTS[i]!.colour)),
    text(starts[2]! + scale * parts[2]! + 8, y + 20, label),
  ];
}

function rectangle(x: number, y: number, width: number, height: number, colour: string): string {
  return `<rect x="${x.toFixed(1)}" y="${y}" width="${width.toFixed(1)}" height="${height}" fill="${colour}"/>`;
}

function text(x: number, y: number, words: string, attributes = ""): string {
  const escaped = words.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  return `<text x="${x.toFixed(1)}" y="${y}" fill="#1b1f24" ${attributes}>${escaped}</text>`;
}
