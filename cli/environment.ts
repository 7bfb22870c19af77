/**
 * The world around a command, as one value, so that tests can hand in another.
 * @module
 */
import { OutputError } from "./errors.ts";

/** The pipeline's door. It loads late: help and wrong usage answer at once without it. */
export type PipelineModule = typeof import("../pipeline/mod.ts");

/** Standard input. */
export interface Input {
  /** Whether a person types into it. */
  isTerminal(): boolean;
  /** All of it, to its end. */
  read(): Promise<string>;
}

/** Standard output or standard error. */
export interface Output {
  /** Whether a person looks at it. */
  isTerminal(): boolean;
  /**
   * Writes all of `data`.
   *
   * @throws {OutputError} when it is closed or full.
   */
  write(data: string | Uint8Array): void;
}

/** What a command reads from and writes to, files apart. */
export interface Environment {
  /** The prompt, when no argument holds it. */
  readonly stdin: Input;
  /** The result. */
  readonly stdout: Output;
  /** All that is for people. */
  readonly stderr: Output;
  /** The folder in which relative paths begin. */
  readonly folder: string;
  /** An environment variable; undefined when it is not set or may not be read. */
  variable(name: string): string | undefined;
  /** Loads the pipeline. */
  loadPipeline(): Promise<PipelineModule>;
}

/** The process's own streams, folder and variables. */
export function systemEnvironment(): Environment {
  return {
    stdin: {
      isTerminal: () => Deno.stdin.isTerminal(),
      read: () => new Response(Deno.stdin.readable).text(),
    },
    stdout: createOutput(Deno.stdout),
    stderr: createOutput(Deno.stderr),
    folder: ".",
    variable: readVariable,
    loadPipeline: () => import("../pipeline/mod.ts"),
  };
}

/** The same world in which nothing reaches standard error. */
export function silenced(environment: Environment): Environment {
  const stderr: Output = { isTerminal: () => false, write: () => {} };
  return { ...environment, stderr };
}

function createOutput(stream: typeof Deno.stdout): Output {
  return {
    isTerminal: () => stream.isTerminal(),
    write: (data) => {
      let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
      try {
        while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
      } catch (cause) {
        const { message } = cause as Error;
        throw new OutputError(`Cannot write to standard output: ${message}`, { cause });
      }
    },
  };
}

function readVariable(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}
