import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { encodeIterm, encodeKitty, findInlineEncoder } from "../../cli/inline_picture.ts";
import { run } from "../../cli/run.ts";
import { fakeEnvironment } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

Deno.test("kitty gets a picture in chunks, and the last one says so", () => {
  assertEquals(encodeKitty(Uint8Array.of(1, 2, 3)), "\x1b_Ga=T,f=100,q=2,m=0;AQID\x1b\\");
  for (const length of [3072, 3073, 6144, 10_000]) {
    const png = Uint8Array.from({ length }, (_, i) => i);
    const commands = encodeKitty(png).split("\x1b\\").slice(0, -1).map((command) => command.split(";"));
    const keys = commands.map(([keys]) => keys!.replace("\x1b_G", ""));
    const count = Math.ceil(length / 3072);
    assertEquals(keys, [
      ...(count === 1 ? [] : ["a=T,f=100,q=2,m=1", ...Array(count - 2).fill("m=1")]),
      count === 1 ? "a=T,f=100,q=2,m=0" : "m=0",
    ]);
    const data = commands.map(([, data]) => data!);
    assert(data.every((chunk) => chunk.length <= 4096));
    assertEquals(Uint8Array.fromBase64(data.join("")), png);
  }
});

Deno.test("iTerm2 gets a picture in one piece with its size", () => {
  assertEquals(encodeIterm(Uint8Array.of(1, 2, 3)), "\x1b]1337;File=inline=1;size=3:AQID\x07");
});

Deno.test("terminals are told apart by their variables", () => {
  const kinds = [
    [{ KITTY_WINDOW_ID: "1", TERM: "xterm-256color" }, encodeKitty],
    [{ TERM: "xterm-kitty" }, encodeKitty],
    [{ TERM: "xterm-ghostty", TERM_PROGRAM: "ghostty" }, encodeKitty],
    [{ TERM_PROGRAM: "iTerm.app" }, encodeIterm],
    [{ TERM_PROGRAM: "WezTerm" }, encodeIterm],
    [{ LC_TERMINAL: "iTerm2" }, encodeIterm],
    [{ TERM: "xterm-256color" }, undefined],
    [{ TERM: "dumb", KITTY_WINDOW_ID: "1" }, undefined],
    [{ TERM: "tmux-256color", TMUX: "/tmp/tmux", TERM_PROGRAM: "iTerm.app" }, undefined],
    [{}, undefined],
  ] as const;
  for (const [variables, expected] of kinds) {
    assertEquals(findInlineEncoder(fakeEnvironment({ terminal: true, variables })), expected);
    assertEquals(findInlineEncoder(fakeEnvironment({ terminal: false, variables })), undefined);
  }
});

Deno.test("--show puts the file below the progress, or says that it cannot", () =>
  inFolder(async (folder) => {
    const variables = { KITTY_WINDOW_ID: "1" };
    const shown = fakeEnvironment({ folder, terminal: true, variables });
    assertEquals(await run(["cat", "--seed", "1", "--show"], shown), 0);
    assertEquals(shown.written.stdout, "cat-1.png\n");
    const picture = encodeKitty(Deno.readFileSync(`${folder}/cat-1.png`));
    assert(shown.written.stderr.endsWith(`it/s\n${picture}\n`));

    for (const world of [{ variables }, { terminal: true }]) {
      const other = fakeEnvironment({ folder, ...world });
      assertEquals(await run(["cat", "--count", "2", "--show"], other), 0);
      assertEquals(other.written.stderr.split("--show: this terminal has no known way").length, 2);
      assert(!other.written.stderr.includes("\x1b"));
    }
    const quiet = fakeEnvironment({ folder, terminal: true, variables });
    await run(["cat", "--show", "--quiet"], quiet);
    assertEquals(quiet.written.stderr, "");
    const plain = fakeEnvironment({ folder, terminal: true, variables });
    await run(["cat"], plain);
    assertStringIncludes(plain.written.stderr, "Drawn in");
    assert(!plain.written.stderr.includes("\x1b"));
  }));
