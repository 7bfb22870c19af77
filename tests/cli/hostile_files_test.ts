import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { encodePng } from "../../cli/png.ts";
import { run } from "../../cli/run.ts";
import { MAIN } from "./denoise_process.ts";
import { fakeEnvironment } from "./fake_environment.ts";
import { withFolder } from "./temporary_folder.ts";

/** What is refused of `args`: the exit code, the sentence, and how far it came. */
async function refused(folder: string, args: readonly string[], stdin?: string) {
  const environment = fakeEnvironment({ folder, ...(stdin !== undefined && { stdin }) });
  const code = await run(args, environment);
  return { code, ...environment.written, stages: environment.stages };
}

/** Every way to name a file that is read. */
const READERS: readonly (readonly [what: string, args: (path: string) => readonly string[]])[] = [
  ["--init-image ", (path) => ["cat", "--init-image", path]],
  ["--mask ", (path) => ["cat", "--init-image", "grey.png", "--mask", path]],
  ["--prompt-file ", (path) => ["--prompt-file", path]],
  ["the batch ", (path) => ["batch", path]],
  ["", (path) => ["--from", path]],
  ["", (path) => ["show", path]],
];

const grey = encodePng({ width: 64, height: 64, pixels: new Uint8Array(3 * 64 * 64) });

Deno.test({
  name: "devices, pipes, sockets and folders are refused before they are opened",
  ignore: Deno.build.os === "windows",
  fn: withFolder(async (folder) => {
    Deno.writeFileSync(join(folder, "grey.png"), grey);
    new Deno.Command("mkfifo", { args: [join(folder, "pipe")] }).outputSync();
    using _server = Deno.listen({ transport: "unix", path: join(folder, "socket") });
    Deno.symlinkSync("/dev/zero", join(folder, "link"));
    Deno.symlinkSync("circle", join(folder, "circle"));
    for (const [what, args] of READERS) {
      for (
        const [path, reason] of [
          ["/dev/zero", "it is not a file"],
          ["/dev/null", "it is not a file"],
          ["pipe", "it is not a file"],
          ["socket", "it is not a file"],
          ["link", "it is not a file"],
          [".", "it is a folder"],
          ["nowhere", "there is no such file"],
          ["grey.png/x", "there is no such file"],
          ["circle", "Too many levels of symbolic links\n"],
        ] as const
      ) {
        const { code, stdout, stderr, stages } = await refused(folder, args(path));
        assertEquals([code, stdout, stages.includes("openGpu")], [2, "", false], stderr);
        assertStringIncludes(stderr, `denoise: Cannot read ${what}${path}: ${reason}`);
      }
    }
  }),
});

Deno.test(
  "files, prompts and lines that are longer than any that make sense are refused in words",
  withFolder(async (folder) => {
    const long = "a ".repeat(2 ** 15) + "b";
    Deno.writeTextFileSync(join(folder, "long.txt"), long);
    const text = `${long}\nSteps: 1, Seed: 1, CFG scale: 1`;
    const image = { width: 1, height: 1, pixels: new Uint8Array(3) };
    Deno.writeFileSync(join(folder, "long.png"), encodePng(image, [{ keyword: "parameters", text }]));
    const holes = Deno.openSync(join(folder, "huge"), { create: true, write: true });
    holes.truncateSync(2 ** 28 + 1);
    holes.close();
    const line = (fields: object) => JSON.stringify({ prompt: "cat", ...fields });
    for (
      const [args, words, stdin] of [
        [[long], "The prompt must have at most 65536 bytes, got 65537"],
        [["é".repeat(2 ** 15 + 1)], "The prompt must have at most 65536 bytes, got 65538"],
        [["cat", "--negative-prompt", long], "--negative-prompt must have at most 65536 bytes, got 65537"],
        [
          ["--prompt-file", "long.txt"],
          "Cannot read --prompt-file long.txt: it has 65537 bytes; at most 65536 are read",
        ],
        [["--from", "long.png"], "long.png cannot be made again: The prompt must have at most 65536 bytes, got 65537"],
        [["batch", "-"], "Line 1: The prompt must have at most 65536 bytes", long],
        [["batch", "-"], "Line 1: The prompt must have at most 65536 bytes", line({ prompt: long })],
        [["batch", "-"], "Line 1: --negative-prompt must have at most", line({ "negative-prompt": long })],
        [["batch", "-"], "Line 1: it has more than 1048576 letters", "a".repeat(2 ** 20 + 1)],
        [["batch", "-"], "The batch has more than 1048576 lines", "a\n".repeat(2 ** 20 + 1)],
        [["batch", "huge"], "Cannot read the batch huge: it has 268435457 bytes; at most 67108864 are read"],
        [["show", "huge"], "Cannot read huge: it has 268435457 bytes; at most 268435456 are read"],
        [["cat", "--init-image", "huge"], "at most 268435456 are read"],
        [
          ["batch", "-"],
          "Line 1: --output must have at most 4096 letters, got 4097",
          line({ output: "x".repeat(4097) }),
        ],
        [["batch", "-"], "Line 1: --mask must have at most 4096 letters", line({ mask: "1a".repeat(2 ** 18) })],
        // A search that goes back from each digit would not end.
        [["batch", "-"], "Line 1: --strength must be", line({ strength: `${"1".repeat(2 ** 19)}x` })],
        [["batch", "-"], "Line 1: --seed must be", line({ seed: "1".repeat(2 ** 19) })],
        [["batch", "-"], "is not an option of a picture", line({ ["x".repeat(2 ** 19)]: 1 })],
        [["batch", "-"], "Line 1: it is not JSON: ", `{"prompt": ${"[".repeat(2 ** 19)}`],
      ] as const
    ) {
      const { code, stderr, stages } = await refused(folder, args, stdin);
      assertEquals([code, stages.includes("openGpu")], [2, false], stderr.slice(0, 500));
      assertStringIncludes(stderr, words);
    }
  }),
);

Deno.test({
  name: "standard input without an end is refused",
  ignore: Deno.build.os === "windows",
  fn: async () => {
    for (const [args, most] of [["", 65_536], ["batch -", 67_108_864]] as const) {
      const { code, stderr } = await new Deno.Command("sh", {
        args: ["-c", `yes | "$0" run -A "$1" ${args}`, Deno.execPath(), MAIN],
      }).output();
      const told = new TextDecoder().decode(stderr);
      assertEquals([code, told], [2, `denoise: Standard input has more than ${most} bytes, and no more are read\n`]);
    }
  },
});
