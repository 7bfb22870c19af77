import { assertEquals, assertStringIncludes } from "@std/assert";
import { MAIN, runDenoise } from "./denoise_process.ts";

const wrong: readonly (readonly [args: readonly string[], words: string])[] = [
  [[], "No prompt: what should the picture show?"],
  [[""], "No prompt"],
  [["a", "cat"], 'A prompt of several words needs quotes: "a cat"'],
  [["cat", "--stepz", "3"], "Unknown option --stepz: did you mean --steps?"],
  [["cat", "--neg", "dog"], "Unknown option --neg: did you mean --negative-prompt?"],
  [["cat", "-steps", "3"], "Unknown option -steps: did you mean --steps?"],
  [["cat", "--no-json"], "Unknown option --no-json"],
  [["cat", "--frobnicate"], "Unknown option --frobnicate; --help lists them all"],
  [["cat", "--steps"], "--steps needs a value: --steps NUMBER"],
  [["cat", "--steps="], "--steps needs a value"],
  [["cat", "--output", "--json"], "--output needs a value: --output FILE"],
  [["cat", "--steps", "0"], '--steps must be a whole number from 1 to 1000, got "0"'],
  [["cat", "--steps", "1001"], 'got "1001"'],
  [["cat", "--steps", "2.5"], 'got "2.5"'],
  [["cat", "--steps", "1e2"], 'got "1e2"'],
  [["cat", "--guidance", "NaN"], '--guidance must be a finite number, 0 or more, got "NaN"'],
  [["cat", "--guidance", "-1"], 'got "-1"'],
  [["cat", "--guidance", "9".repeat(400)], 'got "9999'],
  [["cat", "--width", "100"], '--width must be a multiple of 8 from 64 to 4096, got "100"'],
  [["cat", "--width", "56"], 'got "56"'],
  [["cat", "--height", "4104"], '--height must be a multiple of 8 from 64 to 4096, got "4104"'],
  [["cat", "--seed", "-1"], '--seed must be a whole number from 0 to 18446744073709551615, got "-1"'],
  [["cat", "--seed", "18446744073709551616"], 'got "18446744073709551616"'],
  [["cat", "--scheduler", "eulr"], "did you mean euler?"],
  [["cat", "--scheduler", "DPM++ SDE"], "--scheduler must be one of pndm, ddim,"],
  [["cat", "--guidance-rescale", "1.5"], '--guidance-rescale must be a number from 0 to 1, got "1.5"'],
  [["cat", "--prediction", "sample"], '--prediction must be one of epsilon, v, got "sample"'],
  [["cat", "--json=no"], '--json takes no value, got "no"'],
  [["cat", "--eta", "1.5"], '--eta must be a number from 0 to 1, got "1.5"'],
  [["cat", "--rng", "gpu"], '--rng must be one of cpu, cuda, got "gpu"'],
  [["cat", "--precision", "f8"], '--precision must be one of auto, f16, f32, got "f8"'],
  [["cat", "--long-prompt", "cut"], '--long-prompt must be one of chunk, truncate, got "cut"'],
  [["cat", "--prompt-syntax", "a1112"], "did you mean a1111?"],
  [["cat", "--clip-skip", "0"], '--clip-skip must be a whole number from 1 to 100, got "0"'],
  [["cat", "--output", "-", "--json"], "both use standard output"],
  [
    ["tokens", "cat", "--steps", "3"],
    "--steps is not an option of denoise tokens: it belongs to denoise, denoise batch",
  ],
  [["cat", "--shard", "1/2"], "--shard is not an option of denoise: it belongs to denoise batch"],
  [["batch", "x", "--trust-paths"], "--trust-paths is not an option of denoise batch: it belongs to denoise"],
  [["cat", "--shrad", "1/2"], "Unknown option --shrad: did you mean --shard of denoise batch?"],
  [["cat", "--sede", "3"], "Unknown option --sede: did you mean --seed?"],
  [["cat", "-x"], "Unknown option -x; --help lists them all"],
  [["-_", "x"], "Unknown option -_; --help lists them all"],
  [["cat", "-qh"], "Unknown option -qh"],
  [["cat", "-s"], "--steps needs a value: --steps NUMBER"],
  [["cat", "-s", "3", "--steps", "4"], "--steps is given 2 times: give it once"],
  [
    ["cat", "--negative-prompt", "--steps", "1"],
    "--negative-prompt needs a value: --negative-prompt TEXT; if --steps is meant, write --negative-prompt=--steps",
  ],
  [["cat", "--negative-prompt"], "--negative-prompt needs a value"],
  [["cat", "-n", "-q"], "if -q is meant, write --negative-prompt=-q"],
  [["cat", "--output", "--", "x"], "--output needs a value"],
  [["--quiet", "-5 degrees"], "-5 degrees begins with a dash: put -- before a prompt that does"],
  [["   "], "No prompt: what should the picture show?"],
  [["tokens"], "No prompt: which text should be read? denoise tokens PROMPT"],
  [["shwo", "x.png"], "There is no command shwo: did you mean show? A prompt needs quotes"],
  [["help", "shwo"], "There is no command shwo: did you mean show?"],
  [["help", "show", "batch"], "Help is for one command"],
];

Deno.test("wrong usage: exit code 2, the reason in one line of stderr, nothing on stdout", async () => {
  for (const [args, words] of wrong) {
    const { code, stdout, stderr } = await runDenoise(args);
    assertEquals(code, 2, `${args.join(" ")}: ${stderr}`);
    assertStringIncludes(stderr, words);
    const [first, ...rest] = stderr.split("\n");
    assertEquals(first!.startsWith("denoise: "), true, stderr);
    // Only who gave no prompt gets the short help.
    assertEquals(rest.length > 1, words.startsWith("No prompt: what") || words === "No prompt", stderr);
    assertEquals(stdout.includes('"schema"'), args.includes("--json"));
  }
});

Deno.test("an error under --json is JSON on stdout, too", async () => {
  const { code, stdout } = await runDenoise(["cat", "--json", "--steps", "0"]);
  const message = '--steps must be a whole number from 1 to 1000, got "0"';
  assertEquals(code, 2);
  assertEquals(JSON.parse(stdout), { schema: 1, error: { code: 2, name: "UsageError", message } });
  assertEquals((await runDenoise(["--steps", "0", "--", "--json"])).stdout, "");
});

Deno.test("help and version go to stdout with exit code 0", async () => {
  const help = await runDenoise(["--help"]);
  assertEquals([help.code, help.stderr], [0, ""]);
  assertStringIncludes(help.stdout, "--negative-prompt TEXT");
  const version = await runDenoise(["--version"]);
  assertEquals(version.code, 0);
  assertEquals(/^denoise \d+\.\d+\.\d+\n$/.test(version.stdout), true, version.stdout);
});

Deno.test({
  name: "a full standard output is told: exit code 8",
  ignore: Deno.build.os !== "linux",
  fn: async () => {
    const { code, stderr } = await new Deno.Command("sh", {
      args: ["-c", '"$0" run -A "$1" --version > /dev/full', Deno.execPath(), MAIN],
    }).output();
    assertEquals(code, 8);
    assertStringIncludes(new TextDecoder().decode(stderr), "denoise: Cannot write to standard output");
  },
});
