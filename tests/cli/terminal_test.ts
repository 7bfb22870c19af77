import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import type { Output } from "../../cli/environment.ts";
import { encodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { block, inline, json, line, name } from "../../cli/terminal.ts";
import { ModelFileError, ModelNotFoundError } from "../../weights/mod.ts";
import { fakeEnvironment, type FakeWorld } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

/** Sets the title, clears the screen in two ways, turns the direction, begins new lines. */
const STEERING = "\x1b]0;owned\x07\x9b2J\x1b[2J\u202e\u2066\u2028\x7f\r";
const SHOWN = "\\x1b]0;owned\\x07\\x9b2J\\x1b[2J\\u202e\\u2066\\u2028\\x7f";

/** What may stand in text for people: no control character but the end of a line, and nothing that turns it. */
function assertHarmless(text: string): void {
  const found = text.match(/[^\P{Cc}\n]|[\p{Zl}\p{Zp}\p{Bidi_Control}]/u);
  assertEquals(found, null, JSON.stringify(text));
}

Deno.test("what steers a terminal is written out, and a line is one line of bounded length", () => {
  assertEquals(line(`a ${STEERING}b`), `a ${SHOWN} b\n`);
  assertEquals(line("one\r\n  two\n\nthree "), "one two three\n");
  assertEquals(block(`a\n${STEERING}\tb`), `a\n${SHOWN}\\x0d\tb`);
  assertEquals(inline("日本語 🍎 👩‍👩‍👧 e\u0301"), "日本語 🍎 👩‍👩‍👧 e\u0301");
  const long = inline(`begin${"x".repeat(1e6)}end`);
  assert(long.length < 2100 && long.startsWith("beginx") && long.endsWith("xend"), long);
  assertStringIncludes(long, "x ... 998008 letters ... x");
  assertEquals(line("error for https://user:secret@host/a@b"), "error for https://***@host/a@b\n");
});

Deno.test("JSON stays the same document, and names stay what they are where a program reads them", () => {
  const document = { [STEERING]: [STEERING, 1, null], prompt: "日本 🍎" };
  assertHarmless(json(document));
  assertEquals(JSON.parse(json(document)), document);
  assertEquals(name(STEERING, { isTerminal: () => false }), `${STEERING}\n`);
  assertEquals(name(STEERING, { isTerminal: () => true }), `${SHOWN}\n`);
});

Deno.test("streams take nothing but what was made for them", () => {
  const output: Output = { isTerminal: () => false, write: () => {} };
  // @ts-expect-error: any text could steer the terminal
  output.write("any text");
  output.write(line("any text"));
  const folder = new URL("../../cli/", import.meta.url);
  const rules: readonly (readonly [pattern: RegExp, allowed: readonly string[]])[] = [
    [/Deno\.(stdin|stdout|stderr)\b|\bconsole\b|process\.std/, ["environment.ts"]],
    [/\bas Shown\b/, ["inline_picture.ts", "terminal.ts"]],
    [/\bas (any|never)\b|@ts-|deno-lint-ignore no-explicit-any/, []],
  ];
  for (const [pattern, allowed] of rules) {
    const found = Array.from(Deno.readDirSync(folder), ({ name }) => name)
      .filter((name) => pattern.test(Deno.readTextFileSync(new URL(name, folder))));
    assertEquals(found.sort(), [...allowed]);
  }
});

Deno.test(
  "nothing from a file, a name, a prompt, a model or a hub steers the terminal",
  withFolder(async (folder) => {
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    const picture = (file: string, keyword: string, text: string) =>
      Deno.writeFileSync(join(folder, file), encodePng(blank, [{ keyword, text }]));
    const own = (fields: object) => JSON.stringify({ adapter: STEERING, software: STEERING, ...fields });
    picture("own.png", "denoise", own({ picture: { prompt: STEERING, width: "64", height: "64" } }));
    picture("key.png", "denoise", own({ picture: { prompt: "x", [STEERING]: 1 } }));
    picture("json.png", "denoise", STEERING);
    picture("files.png", "denoise", own({ picture: { prompt: "x" }, files: { [STEERING]: STEERING } }));
    const foreign = `${STEERING}\nNegative prompt: ${STEERING}\nSteps: 1, Seed: 1, Sampler: ${STEERING}, `;
    picture("theirs.png", "parameters", `${foreign}Size: 64x64, Odd ${STEERING}thing: 1, Thing: ${STEERING}`);
    const named = `${STEERING.replace("\r", "")}.png`;
    picture(named, "parameters", "a cat\nSteps: 1, Seed: 1, CFG scale: 1");
    Deno.writeFileSync(join(folder, "cut.png"), encodePng(blank).subarray(0, 40));
    const failing = (error: Error): FakeWorld => ({
      before: (stage) => {
        if (stage === "openModel") throw error;
      },
    });
    const cases: readonly (readonly [args: readonly string[], world?: FakeWorld])[] = [
      ...["own.png", "key.png", "json.png", "files.png", "theirs.png", named, "cut.png"].flatMap((file) =>
        [["show", file], ["--from", file], ["--from", file, "--steps", "1"]].map((args) => [args] as const)
      ),
      [["show", "theirs.png", named]],
      [[STEERING, "--count", "2"]],
      [["tokens", STEERING + "x".repeat(20)]],
      [[`a ${STEERING}`, STEERING]],
      [["cat", `--${STEERING}`]],
      [["cat", "--model", STEERING]],
      [["cat", "--init-image", STEERING]],
      [["cat", "--steps", STEERING]],
      [["cat", "--scheduler", STEERING]],
      [["cat", "--output", `${STEERING}{${STEERING}}.png`]],
      [["cat", "--output", `${STEERING}.png`]],
      [["cat", "--output", `${STEERING}/cat.png`]],
      [["cat", "--grid", `${STEERING}.png`, "--preview", `p${STEERING}.png`]],
      [["batch", "-"], { stdin: `{"prompt": "x", ${JSON.stringify(STEERING)}: 1}` }],
      [["batch", "-"], { stdin: `{"prompt": "x", ${STEERING}` }],
      [["batch", "-"], { stdin: `${STEERING}\nx` }],
      [["batch", "-", "--continue-on-error"], { stdin: JSON.stringify({ prompt: "x", "init-image": STEERING }) }],
      [["cat"], { scheduler: STEERING }],
      [["cat"], failing(new ModelNotFoundError(STEERING))],
      [["cat"], failing(new ModelFileError(STEERING, STEERING))],
      [["cat"], { ...failing(new Error(STEERING)), variables: { DENOISE_DEBUG: "1" } }],
      [["pull", STEERING]],
      [["completions", STEERING]],
      [["doctor", STEERING]],
    ];
    for (const [args, world] of cases) {
      for (const more of [[], ["--json"]]) {
        const environment = fakeEnvironment({ folder, terminal: true, variables: { TERM: "dumb" }, ...world });
        await run([...args, ...more], environment);
        const { stdout, stderr } = environment.written;
        assert(stdout + stderr !== "", args.join(" "));
        assertHarmless(stdout);
        assertHarmless(stderr);
      }
    }
  }),
);

Deno.test(
  "a prompt of several lines cannot pass for options",
  withFolder(async (folder) => {
    const text = JSON.stringify({ picture: { prompt: "a cat\nseed: 7\nmade by: nobody", steps: 3 } });
    const blank = { width: 1, height: 1, pixels: new Uint8Array(3) };
    Deno.writeFileSync(join(folder, "cat.png"), encodePng(blank, [{ keyword: "denoise", text }]));
    const environment = fakeEnvironment({ folder });
    await run(["show", "cat.png"], environment);
    assertEquals(environment.written.stdout, "prompt: a cat\n  seed: 7\n  made by: nobody\nsteps: 3\n");
  }),
);

Deno.test("a token and a password are never told, whatever the error says", async () => {
  const variables = { HF_TOKEN: "hf_abcdefgh\nijklmnopq", DENOISE_DEBUG: "1" };
  const before = () => {
    throw new TypeError("Invalid header Bearer hf_abcdefgh\nijklmnopq for https://me:secret@host/");
  };
  for (const json of [[], ["--json"]]) {
    const told = fakeEnvironment({ variables, before: (stage) => stage === "openModel" && before() });
    assertEquals(await run(["tokens", "cat", ...json], told), 1);
    const { stdout, stderr } = told.written;
    assert(!/hf_abc|ijklm|secret/.test(stdout + stderr), stdout + stderr);
    assertStringIncludes(stderr, "Bearer *** *** for https://***@host/");
  }
});

Deno.test(
  "notices that nobody can read cost no picture",
  {
    ignore: Deno.build.os !== "linux",
  },
  withFolder(async (folder) => {
    const main = new URL("../../main.ts", import.meta.url).pathname;
    const { code, stdout } = await new Deno.Command("sh", {
      args: [
        "-c",
        '"$0" run -A "$1" cat --seed 1 --steps 1 --width 64 --height 64 2> /dev/full',
        Deno.execPath(),
        main,
      ],
      cwd: folder,
    }).output();
    assertEquals([code, new TextDecoder().decode(stdout)], [0, "cat-1.png\n"]);
  }),
);
