import { assert, assertEquals } from "@std/assert";
import { join } from "@std/path";
import project from "../deno.json" with { type: "json" };
import { findEmbedded } from "../weights/open.ts";
import { withFolder } from "./weights/safetensors_bytes.ts";

const root = join(import.meta.dirname!, "..");

/** Deno's runtime for executables, where it is: `deno compile` downloads it once, which tests do not. */
function findRuntime(): string | undefined {
  const given = Deno.env.get("DENORT_BIN");
  if (given !== undefined) return given;
  const { denoDir } = JSON.parse(new TextDecoder().decode(deno(["info", "--json"], {}).stdout));
  const downloaded = join(denoDir, "dl", "release", `v${Deno.version.deno}`, `denort-${Deno.build.target}.zip`);
  try {
    return Deno.statSync(downloaded).isFile ? "" : undefined;
  } catch {
    return undefined;
  }
}

function deno(args: readonly string[], env: Record<string, string>) {
  return new Deno.Command(Deno.execPath(), { args: [...args], cwd: root, env }).outputSync();
}

/** Runs deno.json's task with another output; an empty `runtime` is the one that Deno has downloaded. */
function compile(output: string, runtime: string): void {
  const [, ...args] = project.tasks.compile.split(" ");
  args[args.indexOf("--output") + 1] = output;
  const { success, stderr } = deno(args, runtime ? { DENORT_BIN: runtime } : {});
  assert(success, new TextDecoder().decode(stderr));
}

/** Whether `bytes` hold `part`, told by its first 64 bytes wherever they stand. */
function holds(bytes: Uint8Array, part: Uint8Array): boolean {
  const wanted = part.subarray(0, 64);
  for (let at = bytes.indexOf(wanted[0]!); at >= 0; at = bytes.indexOf(wanted[0]!, at + 1)) {
    if (wanted.every((byte, i) => bytes[at + i] === byte)) return true;
  }
  return false;
}

Deno.test("the program and its embedded model compile into one file, without what only their makers need", () => {
  withFolder((folder) => {
    const output = join(folder, "denoise");
    // Any program can stand for the runtime while nothing runs.
    compile(output, Deno.execPath());
    const packed = Deno.readFileSync(output).subarray(Deno.statSync(Deno.execPath()).size);
    const emoji = findEmbedded("emoji")!;
    for (const name of ["denoise.json", "unet/diffusion_pytorch_model.safetensors", "tokenizer/tokenizer.json"]) {
      assert(holds(packed, Deno.readFileSync(join(emoji, name))), name);
    }
    assert(!holds(packed, Deno.readFileSync(join(emoji, "sheet.png"))), "sheet.png");
  });
});

const runtime = findRuntime();

Deno.test({
  name: runtime === undefined
    ? "the compiled program does not run here: Deno's runtime for executables is not there (DENORT_BIN names one)"
    : "the compiled program draws with the embedded model from any folder",
  ignore: runtime === undefined,
  fn: () =>
    withFolder((folder) => {
      const output = join(folder, "denoise");
      compile(output, runtime!);
      const args = [
        "a red apple",
        "--seed",
        "1",
        "--steps",
        "1",
        "--width",
        "64",
        "--height",
        "64",
        "--output",
        "a.png",
      ];
      const { code, stderr } = new Deno.Command(output, { args, cwd: folder }).outputSync();
      assertEquals(code, 0, new TextDecoder().decode(stderr));
      assert(Deno.statSync(join(folder, "a.png")).size > 0);
    }),
});
