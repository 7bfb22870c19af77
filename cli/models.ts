/**
 * `denoise models`: what there is to draw with.
 * @module
 */
import { describeModels } from "../pipeline/models.ts";
import { showBytes } from "./byte_count.ts";
import type { Given } from "./commands.ts";
import type { Environment } from "./environment.ts";
import { UsageError } from "./errors.ts";
import { block, inline, json } from "./terminal.ts";

/** Prints a line for each model: name, size, family, folder, and why it cannot be drawn with where it cannot. */
export function execute({ values, positionals }: Given, { stdout, variable }: Environment): Promise<void> {
  if (positionals.length > 0) throw new UsageError("denoise models takes no arguments: it lists all models");
  const models = describeModels(variable);
  if (values.json) {
    stdout.write(json({ schema: 1, models }));
  } else {
    const rows = models.map(({ name, bytes, family, problem, directory }) => [
      name,
      showBytes(bytes),
      family ?? "unusable",
      problem === undefined ? directory : `${directory}: ${problem}`,
    ]);
    stdout.write(block(align(rows.map((row) => row.map((cell) => inline(cell))))));
  }
  return Promise.resolve();
}

/** Lines of four columns; the first three are as wide as their longest cell. */
function align(rows: readonly (readonly string[])[]): string {
  const widths = [0, 1, 2].map((column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) => `${row.map((cell, column) => cell.padEnd(widths[column] ?? 0)).join("  ")}\n`).join("");
}
