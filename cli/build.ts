/**
 * Which program on which runtime and driver took a measurement.
 * @module
 */
import project from "../deno.json" with { type: "json" };

/** Version of this program. */
export const VERSION: string = project.version;

/** What runs; what cannot be found out is absent. */
export interface Build {
  /** Version of this program. */
  readonly version: string;
  /** Its commit, with `-dirty` where files differ from it. */
  readonly commit?: string;
  /** Version of Deno. */
  readonly deno: string;
  /** Version of NVIDIA's driver; WebGPU tells of no other. */
  readonly driver?: string;
}

/** Describes the running program. */
export async function describeBuild(): Promise<Build> {
  const [commit, driver] = [await readCommit(), readDriver()];
  return {
    version: VERSION,
    ...(commit && { commit }),
    deno: Deno.version.deno,
    ...(driver && { driver }),
  };
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
