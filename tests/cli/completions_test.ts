import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { commands, SHELLS } from "../../cli/commands.ts";
import { run } from "../../cli/run.ts";
import { optionEntry } from "../../cli/options.ts";
import { schedulerNames } from "../../pipeline/schedulers/mod.ts";
import { fakeEnvironment } from "./fake_environment.ts";
import { inFolder } from "./temporary_folder.ts";

async function scriptOf(shell: string): Promise<string> {
  const environment = fakeEnvironment();
  assertEquals(await run(["completions", shell], environment), 0);
  return environment.written.stdout;
}

/** Whether a shell is installed. */
const has = (shell: string) => {
  try {
    return new Deno.Command(shell, { args: ["--version"], stdout: "null", stderr: "null" }).outputSync().success;
  } catch {
    return false;
  }
};

const testName = (shell: string, what: string) => has(shell) ? `${shell} ${what}` : `${shell} is not installed here`;

function shell(name: string, args: readonly string[], folder?: string): string {
  const cwd = folder === undefined ? {} : { cwd: folder };
  const { success, stdout, stderr } = new Deno.Command(name, { args: [...args], ...cwd }).outputSync();
  const text = new TextDecoder();
  assert(success, text.decode(stderr));
  assertEquals(text.decode(stderr), "");
  return text.decode(stdout);
}

/** What each line is completed to; the last word is incomplete. */
const cases: readonly (readonly [line: readonly string[], expected: readonly string[]])[] = [
  [["comp"], ["completions"]],
  [["completions", ""], ["bash", "zsh", "fish"]],
  [["completions", "z"], ["zsh"]],
  [["--scheduler", ""], schedulerNames()],
  [["a cat", "--scheduler", "euler-"], ["euler-karras", "euler-trailing", "euler-ancestral"]],
  [["a cat", "--sch"], ["--scheduler"]],
  [["a cat", "--shard"], []],
  [["batch", "--shar"], ["--shard"]],
  [["doctor", "--"], ["--webgpu", "--json", "--quiet", "--help", "--version"]],
  [["show", "pic"], ["picture one.png", "picture.png"]],
  [["a cat", "--output", "pic"], ["picture one.png", "picture.png"]],
  [["a cat", "-o", "pic"], ["picture one.png", "picture.png"]],
  [["help", "sh"], ["show"]],
  [["a cat", "pic"], []],
  [["a cat", "--seed", "pic"], []],
];

Deno.test({
  name: testName("bash", "completes commands, options, values and files"),
  ignore: !has("bash"),
  fn: () =>
    inFolder(async (folder) => {
      const script = join(folder, "denoise.bash");
      Deno.writeTextFileSync(script, await scriptOf("bash"));
      shell("bash", ["-n", script]);
      for (const name of ["picture one.png", "picture.png"]) Deno.writeTextFileSync(join(folder, name), "");
      const equals = [["--rng", "=", "cu"], ["--rng", "="]] as const;
      const all = [...cases, [equals[0], ["cuda"]], [equals[1], ["cpu", "cuda"]]] as const;
      for (const [line, expected] of all) {
        const commandLine = ["denoise", ...line];
        const complete =
          `source "$0"; COMP_WORDS=("$@"); COMP_CWORD=${commandLine.length - 1}; _denoise 2>/dev/null; ` +
          'printf "%s\\n" "${COMPREPLY[@]}"';
        const found = shell("bash", ["-c", complete, script, ...commandLine], folder).split("\n").filter(Boolean);
        assertEquals(found.sort(), [...expected].sort(), line.join(" "));
      }
      const registered = shell("bash", ["-c", 'source "$0"; complete -p denoise', script]);
      assertEquals(registered, "complete -F _denoise denoise\n");
    }),
});

Deno.test({
  name: testName("fish", "completes commands, options, values and files"),
  ignore: !has("fish"),
  fn: () =>
    inFolder(async (folder) => {
      const script = join(folder, "denoise.fish");
      Deno.writeTextFileSync(script, await scriptOf("fish"));
      shell("fish", ["--no-config", "-n", script]);
      for (const name of ["picture one.png", "picture.png"]) Deno.writeTextFileSync(join(folder, name), "");
      for (const [line, expected] of cases) {
        const text = ["denoise", ...line.map((word) => word.replaceAll(" ", "\\ "))].join(" ");
        const complete = `source $argv[1]; complete -C $argv[2]`;
        const found = shell("fish", ["--no-config", "-c", complete, script, text], folder).split("\n").filter(Boolean);
        const words = found.map((row) => row.split("\t")[0]!.replaceAll("\\ ", " "));
        // fish offers the letters of options, too.
        assertEquals(words.filter((word) => !/^-\w$/.test(word)).sort(), [...expected].sort(), text);
      }
    }),
});

Deno.test({
  name: testName("zsh", "reads the script"),
  ignore: !has("zsh"),
  fn: () =>
    inFolder(async (folder) => {
      const script = join(folder, "_denoise");
      Deno.writeTextFileSync(script, await scriptOf("zsh"));
      shell("zsh", ["-f", "-n", script]);
      shell("zsh", [
        "-f",
        "-c",
        'autoload -Uz compinit; compinit -u -D; source "$0"; [[ $_comps[denoise] == _denoise ]]',
        script,
      ]);
    }),
});

Deno.test("scripts hold every command, its options and their values", async () => {
  for (const name of SHELLS) {
    const script = await scriptOf(name);
    for (const command of commands.slice(1)) assertStringIncludes(script, command.name);
    for (const option of new Set(commands.flatMap(({ options }) => options))) {
      assert(new RegExp(`(--|-l )${option}\\b`).test(script), `${name} lacks --${option}`);
      const { choices } = optionEntry(option);
      if (choices !== undefined) assertStringIncludes(script, choices.join(" "));
    }
  }
});

Deno.test("a shell that is not known is refused", async () => {
  for (const [args, words] of [[[], "For which shell?"], [["basj"], "did you mean bash?"]] as const) {
    const environment = fakeEnvironment();
    assertEquals(await run(["completions", ...args], environment), 2);
    assertStringIncludes(environment.written.stderr, words);
    assertEquals(environment.written.stdout, "");
  }
});
