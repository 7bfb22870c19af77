/**
 * The world around a command, as one value, so that tests can hand in another.
 * @module
 */
import { Buffer } from "node:buffer";
import type {
  DeviceOptions,
  Examination,
  Gpu,
  Model,
  Pipeline,
  PipelineOptions,
  SelectionOptions,
  StageBytes,
  Upscaler,
  UpscalerFile,
  UpscalerOptions,
} from "../pipeline/mod.ts";
import { OutputError, UsageError } from "./errors.ts";
import { decodeText, readingOf, systemWords } from "./reading.ts";
import { line, type Shown } from "./terminal.ts";

type OpenGpu = Pick<Gpu, "adapter" | "matrices" | typeof Symbol.asyncDispose>;
export type LoadedPipeline = Pick<Pipeline, "generate" | typeof Symbol.asyncDispose>;

export type LoadedUpscaler = Pick<Upscaler, "enlarge" | typeof Symbol.dispose>;

/** What commands ask of `pipeline/mod.ts`; tests draw without a GPU. */
export interface PipelineModule extends
  Pick<
    typeof import("../pipeline/mod.ts"),
    | "openModel"
    | "openPreviewVae"
    | "openLora"
    | "findLora"
    | "openEmbedding"
    | "complete"
    | "listEmbedded"
    | "openUpscaler"
    | "refuseSize"
  > {
  readonly Gpu: { open(options: DeviceOptions): Promise<OpenGpu> };
  readonly Pipeline: {
    load(gpu: OpenGpu, model: Model, options: PipelineOptions): Promise<LoadedPipeline>;
    needs(gpu: OpenGpu, model: Model): Promise<StageBytes>;
  };
  readonly Upscaler: { load(gpu: OpenGpu, file: UpscalerFile, options: UpscalerOptions): Promise<LoadedUpscaler> };
  examine(gpu: OpenGpu, options: SelectionOptions): Promise<Examination>;
}

export interface Input {
  isTerminal(): boolean;
  /**
   * All of it, to its end.
   *
   * @throws {UsageError} when it has more than `most` bytes, or is not UTF-8.
   */
  read(most: number): Promise<string>;
}

export interface Output {
  isTerminal(): boolean;
  /** @throws {OutputError} when it is closed or full. */
  write(data: Shown | Uint8Array): void;
}

/** What a command reads from and writes to, files apart. */
export interface Environment {
  readonly stdin: Input;
  /** For the result. */
  readonly stdout: Output;
  /** For errors. */
  readonly stderr: Output;
  /** For all else that people want to know: standard error, unless they want to know nothing. */
  readonly notices: Output;
  /** The folder in which relative paths begin. */
  readonly folder: string;
  /** An environment variable; undefined when it is not set or may not be read. */
  variable(name: string): string | undefined;
  /** Loads the pipeline late: help and wrong usage are answered at once without it. */
  loadPipeline(): Promise<PipelineModule>;
}

export function systemEnvironment(): Environment {
  const stderr = createOutput(Deno.stderr, () => {
    // Nobody reads it: no reason to lose a picture.
  });
  return {
    stdin: { isTerminal: () => Deno.stdin.isTerminal(), read: readInput },
    stdout: createOutput(Deno.stdout, (cause) => {
      throw new OutputError(`Cannot write to standard output: ${systemWords(cause)}`, { cause });
    }),
    stderr,
    notices: stderr,
    folder: ".",
    variable: readVariable,
    loadPipeline: () => import("../pipeline/mod.ts"),
  };
}

/** The same world in which only errors are told. */
export function silenced(environment: Environment): Environment {
  return { ...environment, notices: { isTerminal: () => false, write: () => {} } };
}

/** Tells people a sentence. */
export function say({ notices }: Pick<Environment, "notices">, text: string): void {
  notices.write(line(text));
}

/** Whether the network must be left alone, as `huggingface_hub` reads it. */
export function isOffline({ variable }: Pick<Environment, "variable">): boolean {
  return /^(?:1|on|yes|true)$/i.test(variable("HF_HUB_OFFLINE") ?? "");
}

function createOutput(stream: typeof Deno.stdout, fail: (cause: Error) => void): Output {
  return {
    isTerminal: () => stream.isTerminal(),
    write: (data) => {
      let rest = typeof data === "string" ? new TextEncoder().encode(data) : data;
      try {
        while (rest.length > 0) rest = rest.subarray(stream.writeSync(rest));
      } catch (cause) {
        fail(cause as Error);
      }
    },
  };
}

async function readInput(most: number): Promise<string> {
  const parts: Uint8Array[] = [];
  let length = 0;
  for await (const part of Deno.stdin.readable) {
    parts.push(part);
    length += part.length;
    if (length > most) throw new UsageError(`Standard input has more than ${most} bytes, and no more are read`);
  }
  return readingOf("standard input", () => decodeText(Buffer.concat(parts)));
}

function readVariable(name: string): string | undefined {
  try {
    return Deno.env.get(name);
  } catch (error) {
    if (error instanceof Deno.errors.NotCapable) return undefined;
    throw error;
  }
}
