/**
 * The tables of README that follow from the code. `deno task readme` writes them into it.
 * @module
 */
import { exitCodes } from "../cli/errors.ts";
import { optionFlag } from "../cli/help.ts";
import { optionEntry, optionNames } from "../cli/options.ts";
import { promiseRows } from "./promises.ts";

const README = new URL("../README.md", import.meta.url);

/** Rows of cells below each heading of README that has such a table, and the cells of its head. */
export const tables: Readonly<Record<string, { readonly head: readonly string[]; readonly rows: string[][] }>> = {
  "Options": {
    head: ["option", "what it does", "without it"],
    rows: optionNames.map((name) => {
      const { help, default: text, otherwise = text } = optionEntry(name);
      return [`\`${optionFlag(name)}\``, help, otherwise ?? ""].map((cell) => cell.replaceAll("|", "\\|"));
    }),
  },
  "Exit codes": { head: ["code", "meaning"], rows: exitCodes.map(({ code, meaning }) => [`${code}`, meaning]) },
  "Promises": { head: ["#", "promise", "cases"], rows: await promiseRows() },
};

/** README's text. */
export function readReadme(): string {
  return Deno.readTextFileSync(README);
}

/** The lines of the table right below a heading. */
export function tableBelow(heading: string, readme: string): string {
  return readme.split(`\n## ${heading}\n`)[1]!.trimStart().split("\n\n")[0]!;
}

if (import.meta.main) {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  const written = Object.entries(tables).reduce((readme, [heading, { head, rows }]) => {
    const table = [line(head), line(head.map(() => "---")), ...rows.map(line)].join("\n");
    return readme.replace(tableBelow(heading, readme), () => table);
  }, readReadme());
  Deno.writeTextFileSync(README, written);
  await new Deno.Command(Deno.execPath(), { args: ["fmt", "--quiet", README.pathname] }).spawn().status;
}
