/**
 * Which program on which runtime and driver took a measurement.
 * @module
 */
import project from "../deno.json" with { type: "json" };

export const VERSION: string = project.version;

/** Versions; one that cannot be found out is absent. */
export interface Build {
  readonly version: string;
  /** With `-dirty` where files differ from it. */
  readonly commit?: string;
  readonly deno: string;
  /** Of NVIDIA's driver; WebGPU does not tell that of others. */
  readonly driver?: string;
}

export async function describeBuild(): Promise<Build> {
  const [commit, driver] = [await readCommit(), readDriver()];
  return { version: VERSION, ...(commit && { commit }), deno: Deno.version.deno, ...(driver && { driver }) };
}

async function readCommit(): Promise<string | undefined> {
  try {
    const args = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];
    const cwd = new URL("..", import.meta.url);
    const { success, stdout } = await new Deno.Command("git", { args, cwd, stderr: "null" }).output();
    return success ? new TextDecoder().decode(stdout).trim() : undefined;
  } catch {
    // No git, no permission to run it, or no folder to run it in.
    return undefined;
  }
}

/** Version of NVIDIA's driver, where there is one. */
export function readDriver(): string | undefined {
  try {
    return Deno.readTextFileSync("/proc/driver/nvidia/version").match(/ (\d+\.\d[\d.]*) /)?.[1];
  } catch {
    // Another card, another system, or no permission to read outside the program's folders.
    return undefined;
  }
}
