/**
 * A world for `run` without a process: streams are texts, the pipeline draws a gradient.
 * @module
 */
import type { Environment, PipelineModule } from "../../cli/mod.ts";
import { GpuFailedError, NoGpuError } from "../../kernels/errors.ts";
import type { Examination } from "../../kernels/self_test.ts";
import { ModelFileError } from "../../weights/mod.ts";
import { encodePrompt } from "../../pipeline/prompt/chunks.ts";
import type { GenerateOptions } from "../../pipeline/pipeline.ts";
import type { GenerateEvent, Request } from "../../pipeline/request.ts";

/** What a test decides; the rest is a quiet pipe and a pipeline that works. */
export interface FakeWorld {
  readonly folder?: string;
  readonly stdin?: string;
  readonly terminal?: boolean;
  readonly variables?: Readonly<Record<string, string>>;
  /** The class that the model's scheduler configuration names. */
  readonly scheduler?: string;
  /** Whether the model's VAE has no encoder. */
  readonly decoderOnly?: boolean;
  /** Time of each step; default 500. */
  readonly stepMilliseconds?: number;
  /** What is found out about the GPU; default nothing that is amiss. */
  readonly examination?: Examination;
  /** Takes the place of a stage: called before it answers. */
  readonly before?: (stage: Stage) => void;
}

/** The stages at which a real pipeline can fail. */
export type Stage = "openModel" | "loadTokenizer" | "openGpu" | "loadPipeline" | "step" | "stdout";

/** The environment, and what was written to it. */
export interface FakeEnvironment extends Environment {
  readonly written: { stdout: string; stderr: string };
  readonly stages: readonly Stage[];
}

/** Builds a fake environment. */
export function fakeEnvironment(world: FakeWorld = {}): FakeEnvironment {
  const written = { stdout: "", stderr: "" };
  const stages: Stage[] = [];
  const reach = (stage: Stage) => {
    stages.push(stage);
    world.before?.(stage);
  };
  const output = (name: keyof typeof written) => ({
    isTerminal: () => world.terminal ?? false,
    write: (data: string | Uint8Array) => {
      if (name === "stdout") reach("stdout");
      written[name] += typeof data === "string" ? data : new TextDecoder("latin1").decode(data);
    },
  });
  return {
    written,
    stages,
    stdin: {
      isTerminal: () => world.stdin === undefined,
      read: () => Promise.resolve(world.stdin ?? ""),
    },
    stdout: output("stdout"),
    stderr: output("stderr"),
    folder: world.folder ?? "/nowhere",
    variable: (name) => world.variables?.[name],
    loadPipeline: () => Promise.resolve(fakePipeline(world, reach)),
  };
}

/** A text encoder of two layers. */
const TEXT_ENCODER = {
  hidden_size: 32,
  num_hidden_layers: 2,
  num_attention_heads: 2,
  intermediate_size: 64,
  vocab_size: 256,
};

/** A GPU that has everything. */
export const HEALTHY: Examination = {
  features: { "shader-f16": true, "timestamp-query": true, "subgroups": true },
  limits: { maxStorageBufferBindingSize: 2 ** 31 - 4 },
  kernels: { backend: "texture", why: "it was so" },
  tests: [{ name: "float32 sums" }, { name: "float16 arithmetic" }],
};

function fakePipeline(world: FakeWorld, reach: (stage: Stage) => void): PipelineModule {
  const disposed = { [Symbol.dispose]: () => {}, [Symbol.asyncDispose]: () => Promise.resolve() };
  async function* generate(
    request: Request,
    { previews = 0 }: GenerateOptions = {},
  ): AsyncGenerator<GenerateEvent> {
    const { width, height, steps } = request;
    for (let step = 1; step <= steps; step++) {
      reach("step");
      // A preview's red is its step.
      const preview = step % previews === 0 || step === steps
        ? { width: 1, height: 1, pixels: Uint8Array.of(step, 0, 0) }
        : undefined;
      const milliseconds = world.stepMilliseconds ?? 500;
      yield await Promise.resolve({ type: "step", step, steps, milliseconds, ...(previews && preview && { preview }) });
    }
    const pixels = new Uint8Array(width * height * 3).map((_, index) => index % 251);
    const image = { width, height, pixels };
    yield { type: "image", image, timings: { text: 1, denoise: 2, decode: 3 }, peakBytes: 4096 };
  }
  const scheduler = { _class_name: world.scheduler ?? "EulerDiscreteScheduler", beta_schedule: "scaled_linear" };
  const fake = {
    ModelFileError,
    GpuFailedError,
    NoGpuError,
    examine: () => Promise.resolve(world.examination ?? HEALTHY),
    checkEncoder: () => {
      if (world.decoderOnly) throw new ModelFileError("vae", "has no encoder");
    },
    encodePrompt,
    openModel: (name: string) => {
      reach("openModel");
      const defaults = {
        steps: 10,
        guidance: 1.5,
        width: 64,
        height: 72,
        longPrompt: "truncate",
        knows: "gradients",
      };
      return { ...disposed, name, defaults, tokenizer: {}, config: { scheduler, textEncoder: TEXT_ENCODER } };
    },
    // Every letter is a token; there is room for ten.
    loadTokenizer: () => {
      reach("loadTokenizer");
      const tokenize = (text: string) => Promise.resolve([...text].map((text) => ({ id: text.codePointAt(0), text })));
      return Promise.resolve({ maxLength: 12, begin: 1, end: 2, padding: 0, comma: undefined, tokenize });
    },
    Gpu: {
      open: () => {
        reach("openGpu");
        const adapter = { description: "Fake", vendor: "none", architecture: "none", software: true };
        return Promise.resolve({ ...disposed, adapter });
      },
    },
    Pipeline: {
      load: () => {
        reach("loadPipeline");
        return Promise.resolve({ ...disposed, generate });
      },
    },
  };
  return fake as unknown as PipelineModule;
}
