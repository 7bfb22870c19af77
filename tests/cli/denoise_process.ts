/**
 * The real command in a process of its own.
 * @module
 */
import { join } from "@std/path";

/** The program. */
export const MAIN = join(import.meta.dirname!, "../../main.ts");

/** How the process is started. */
export interface ProcessOptions {
  /** What it reads; nothing when absent. */
  readonly stdin?: string;
  /** Added to the environment. */
  readonly variables?: Readonly<Record<string, string>>;
  /** Its working folder. */
  readonly folder?: string;
  /** Flags of `deno run`. */
  readonly permissions?: readonly string[];
  /** What runs in place of the program. */
  readonly program?: string;
}

/** How the process ended. */
export interface Finished {
  readonly code: number;
  readonly bytes: Uint8Array;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the command; nobody types into it. */
export function startDenoise(args: readonly string[], options: ProcessOptions = {}): Deno.ChildProcess {
  const { permissions = ["-A"], folder, variables, program = MAIN } = options;
  const command = new Deno.Command(Deno.execPath(), {
    args: ["run", ...permissions, program, ...args],
    stdin: options.stdin === undefined ? "null" : "piped",
    stdout: "piped",
    stderr: "piped",
    ...(folder === undefined ? {} : { cwd: folder }),
    // Without a folder to run in, the display libraries behind WebGPU write to stderr.
    env: { XDG_RUNTIME_DIR: "/tmp", ...(variables?.XDG_CACHE_HOME && { DENO_DIR: denoFolder() }), ...variables },
  });
  return command.spawn();
}

/** Deno's own cache, which would move with the user's and be filled anew from the network. */
function denoFolder(): string {
  const { stdout } = new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync();
  return JSON.parse(new TextDecoder().decode(stdout)).denoDir;
}

/** Runs the command to its end. */
export async function runDenoise(args: readonly string[], options: ProcessOptions = {}): Promise<Finished> {
  const child = startDenoise(args, options);
  if (options.stdin !== undefined) {
    await new Blob([options.stdin]).stream().pipeTo(child.stdin);
  }
  const { code, stdout: bytes, stderr } = await child.output();
  const text = (data: Uint8Array) => new TextDecoder().decode(data);
  return { code, bytes, stdout: text(bytes), stderr: text(stderr) };
}
