import { assertEquals, assertThrows } from "@std/assert";
import { UsageError } from "../../cli/errors.ts";
import { optionNames } from "../../cli/options.ts";
import { readValues, sortArguments } from "../../cli/parse.ts";

function parse(args: readonly string[]) {
  const sorted = sortArguments(args, { name: "all", options: optionNames });
  return { ...readValues(sorted.options), positionals: sorted.positionals };
}

Deno.test("values are read from both ways to write an option", () => {
  const expected = { seed: 2n ** 64n - 1n, guidance: 0.5, width: 64 };
  for (
    const args of [
      ["--seed", `${expected.seed}`, "--guidance", "0.5", "--width", "64"],
      ["--width=64", "--seed=18446744073709551615", "--guidance=0.5"],
    ]
  ) {
    const { seed, guidance, width } = parse(args);
    assertEquals({ seed, guidance, width }, expected);
  }
});

Deno.test("absent options have their defaults", () => {
  const { seed, rng, precision, json, ...rest } = parse([]);
  assertEquals([seed, rng, precision, json], [undefined, "cpu", "auto", false]);
  assertEquals([rest["negative-prompt"], rest["prompt-syntax"], rest.positionals], ["", "a1111", []]);
});

Deno.test("an empty value, a dash, numbers and -- keep their meaning", () => {
  for (const empty of [["--negative-prompt", ""], ["--negative-prompt="]]) {
    const { positionals, json, ...values } = parse([...empty, "a = b", "--json"]);
    assertEquals([values["negative-prompt"], positionals, json], ["", ["a = b"], true]);
  }
  assertEquals(parse(["--output", "-"]).output, "-");
  assertEquals(parse(["007"]).positionals, ["007"]);
  assertEquals(parse(["--", "--seed", "-1", "--x="]).positionals, ["--seed", "-1", "--x="]);
  assertEquals(parse(["-h"]).help, true);
  const { output, steps, quiet, ...letters } = parse(["-o", "x.png", "-s=3", "-q", "-n", "-5 dogs", "cat"]);
  assertEquals([output, steps, quiet, letters["negative-prompt"]], ["x.png", 3, true, "-5 dogs"]);
  assertEquals(parse(["--negative-prompt=--steps"])["negative-prompt"], "--steps");
  assertEquals(parse(["cat", " ", "\t\n"]).positionals, ["cat"]);
  assertEquals(parse(["--from=a=b\nc"]).from, "a=b\nc");
  assertThrows(() => parse(["--json=no"]), UsageError, '--json takes no value, got "no"');
});

Deno.test("an option that is given twice is refused, and so is a dash that is no option's", () => {
  for (const args of [["--width=8", "--width=64"], ["--width", "8", "--width", "8"], ["--json", "--json"]]) {
    const [name] = args[0]!.split("=");
    assertThrows(() => parse(args), UsageError, `${name} is given 2 times: give it once`);
  }
  assertThrows(() => parse(["-5 degrees"]), UsageError, "-5 degrees begins with a dash: put -- before a prompt");
  assertEquals(parse(["--", "-5 degrees"]).positionals, ["-5 degrees"]);
});
