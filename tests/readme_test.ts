import { assertEquals } from "@std/assert";
import { readReadme, tableBelow, tables } from "./readme_tables.ts";

/** The rows of the table right below a heading, cells trimmed. */
function readTable(heading: string): string[][] {
  const [_head, _line, ...rows] = tableBelow(heading, readReadme()).split("\n");
  return rows.map((row) => row.slice(1, -1).split(/(?<!\\)\|/).map((cell) => cell.trim()));
}

Deno.test("every promise is held by a test", () => {
  assertEquals(tables.Promises!.rows.filter(([, , cases]) => cases === "0"), []);
});

for (const [heading, { rows }] of Object.entries(tables)) {
  Deno.test(`README's table of ${heading.toLowerCase()} is what the code says`, () => {
    assertEquals(readTable(heading), rows, "deno task readme writes it");
  });
}
