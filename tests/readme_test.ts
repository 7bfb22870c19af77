import { assertEquals } from "@std/assert";
import { exitCodes } from "../cli/exit_codes.ts";
import { optionFlag } from "../cli/help.ts";
import { optionEntry, optionNames } from "../cli/options.ts";

const readme = Deno.readTextFileSync(new URL("../README.md", import.meta.url));

/** The rows of the table right below a heading, cells trimmed. */
function readTable(heading: string): string[][] {
  const table = readme.split(`\n## ${heading}\n`)[1]!.trimStart().split("\n\n")[0]!;
  const [_head, _line, ...rows] = table.split("\n");
  return rows.map((row) => row.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

Deno.test("README's option table is the option table", () => {
  const rows = optionNames.map((name) => {
    const { help, default: text, otherwise = text } = optionEntry(name);
    return [`\`${optionFlag(name)}\``, help, otherwise ?? ""].map((cell) => cell.replaceAll("|", "\\|"));
  });
  assertEquals(readTable("Options"), rows);
});

Deno.test("README's exit codes are the exit codes", () => {
  assertEquals(readTable("Exit codes"), exitCodes.map(({ code, meaning }) => [`${code}`, meaning]));
});
