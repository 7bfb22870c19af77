/**
 * A world for `run` without a process: streams are texts, the model is small and the pipeline draws a gradient.
 * @module
 */
import { createHash } from "node:crypto";
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "@std/path";
import { sizesOf } from "../../cli/hires.ts";
import type { Environment, LoadedUpscaler, PipelineModule } from "../../cli/environment.ts";
import type { Examination } from "../../kernels/self_test.ts";
import { complete, type CompleteRequest, isComplete } from "../../pipeline/complete.ts";
import { openControlNet } from "../../pipeline/controlnets.ts";
import { openLora } from "../../pipeline/loras.ts";
import { describeFiles, type Model } from "../../pipeline/model.ts";
import type { GenerateOptions } from "../../pipeline/pipeline.ts";
import { openEmbedding } from "../../pipeline/prompt/embeddings.ts";
import { openUpscaler, refuseSize } from "../../pipeline/upscaler.ts";
import { openPreviewVae } from "../../pipeline/preview_vae.ts";
import type { GenerateEvent, Request } from "../../pipeline/request.ts";
import { byPart, findLora, listEmbedded, openFormula, readConfig } from "../../weights/mod.ts";

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
  /** Whether the model's UNet reads a mask. */
  readonly paints?: boolean;
  /** Whether the model is one of Stable Diffusion XL. */
  readonly xl?: boolean;
  /** Time of each step; default 500. */
  readonly stepMilliseconds?: number;
  /** What is found out about the GPU; default nothing that is amiss. */
  readonly examination?: Examination;
  /** Takes the place of a stage: called before it answers. */
  readonly before?: (stage: Stage) => void;
  /** Called with each request that is drawn. */
  readonly onRequest?: (request: CompleteRequest) => void;
}

/** The stages at which a real pipeline can fail. */
export type Stage = "openModel" | "complete" | "openGpu" | "loadPipeline" | "step" | "stdout";

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
  const stderr = output("stderr");
  return {
    written,
    stages,
    stdin: {
      isTerminal: () => world.stdin === undefined,
      read: (most) =>
        (world.stdin ?? "").length <= most
          ? Promise.resolve(world.stdin ?? "")
          : Promise.reject(new RangeError("long")),
    },
    stdout: output("stdout"),
    stderr,
    notices: stderr,
    folder: world.folder ?? "/nowhere",
    variable: (name) => world.variables?.[name],
    loadPipeline: () => Promise.resolve(fakePipeline(world, reach)),
  };
}

/** Asserts that a run was refused before it opened the GPU; `args` are told where it was not. */
export function assertRefused(
  told: { readonly code: number; readonly stderr: string; readonly stages: readonly string[] },
  code: number,
  message: string,
  args: string,
): void {
  assertEquals(told.code, code, `${args}: ${told.stderr}`);
  assertStringIncludes(told.stderr, message);
  assert(!told.stages.includes("openGpu"), args);
}

/** A GPU that has everything. */
export const HEALTHY: Examination = {
  features: { "shader-f16": true, "timestamp-query": true, "subgroups": true },
  limits: { maxStorageBufferBindingSize: 2 ** 31 - 4 },
  kernels: { backend: "texture", why: "it was so" },
  tests: [{ name: "float32 sums" }, { name: "float16 arithmetic" }],
};

const TINY = new URL("../../fixtures/tiny-sd1", import.meta.url).pathname;

/** Every letter is a token, its code, and at the end of a word its code and 128; there is room for ten. */
const LETTERS = Array.from({ length: 94 }, (_, i) => 33 + i).flatMap((code) => {
  const letter = String.fromCharCode(code);
  return [[letter, code], [`${letter}</w>`, code + 128]];
});
const VOCABULARY = { "<|startoftext|>": 1, "<|endoftext|>": 2, "!pad": 0, ...Object.fromEntries(LETTERS) };

/** A model with a text encoder of two layers, whose weights nobody reads. */
function fakeModel(name: string, { scheduler = "EulerDiscreteScheduler", decoderOnly, paints, xl }: FakeWorld): Model {
  const config = readConfig(TINY);
  const tensors: Readonly<Record<string, readonly (readonly [string, readonly number[]])[]>> = {
    text_encoder: [["embeddings.token_embedding.weight", [400, 4]]],
    unet: [["mid_block.attentions.0.proj_in.weight", [6, 4]]],
    vae: decoderOnly ? [] : [["encoder.conv_in.weight", [1]]],
  };
  return describeFiles({
    name,
    directory: TINY,
    config: {
      ...config,
      text_encoder: { ...config.text_encoder, num_hidden_layers: 2 },
      ...(xl && { text_encoder_2: config.text_encoder }),
      unet: { ...config.unet, in_channels: paints ? 9 : 4, addition_embed_type: xl ? "text_time" : null },
      scheduler: { _class_name: scheduler, beta_schedule: "scaled_linear" },
    },
    parts: byPart((part) => openFormula(part, new Map(tensors[part] ?? []))),
    tokenizer: {
      vocab: JSON.stringify(VOCABULARY),
      merges: "",
      config: { model_max_length: 12, pad_token: "!pad" },
      specialTokens: {},
    },
    settings: { steps: 10, guidance: 1.5, width: 64, height: 72, longPrompt: "truncate", knows: "gradients" },
    [Symbol.dispose]() {},
  });
}

function fakePipeline(world: FakeWorld, reach: (stage: Stage) => void): PipelineModule {
  const disposed = { [Symbol.asyncDispose]: () => Promise.resolve() };
  async function* generate(
    request: Request | CompleteRequest,
    { previews = 0 }: GenerateOptions = {},
  ): AsyncGenerator<GenerateEvent> {
    if (!isComplete(request)) throw new Error("The request is not complete");
    world.onRequest?.(request);
    const { width, height } = sizesOf(request).final;
    const { steps } = request;
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
  return {
    openModel(name, { vae, controlNets: paths = [] } = {}) {
      reach("openModel");
      const hash = (path: string) =>
        createHash("sha256").update(Deno.readFileSync(join(world.folder!, path))).digest("hex");
      const given = (path: string) => ({ path, hashes: () => ({ [path]: hash(path) }) });
      const model = fakeModel(name, world);
      using stack = new DisposableStack();
      const controlNets = paths.map((path) => {
        return { ...stack.use(openControlNet(join(world.folder!, path), model)), given: given(path) };
      });
      const opened = stack.move();
      const givenVae = vae === undefined ? {} : { givenVae: given(vae) };
      return { ...model, ...givenVae, controlNets, [Symbol.dispose]: () => opened.dispose() };
    },
    openPreviewVae,
    listEmbedded,
    openLora,
    openEmbedding,
    findLora,
    openUpscaler,
    refuseSize,
    complete(model, request) {
      reach("complete");
      return complete(model, request);
    },
    examine: () => Promise.resolve(world.examination ?? HEALTHY),
    Gpu: {
      open({ webgpu }) {
        reach("openGpu");
        const adapter = {
          description: "Fake",
          vendor: "none",
          architecture: "none",
          software: true,
          webgpu: webgpu === "dawn" ? "Dawn 0.6.2" : "Deno 2.9.6",
        };
        return Promise.resolve({ ...disposed, adapter, matrices: webgpu === "dawn" ? [{ m: 16, n: 8, k: 16 }] : [] });
      },
    },
    Upscaler: {
      load(_gpu, { scale }) {
        reach("loadPipeline");
        // Every pixel becomes a square.
        const enlarge: LoadedUpscaler["enlarge"] = ({ width, height, pixels }, { onTile } = {}) => {
          reach("step");
          onTile?.(1, 2);
          onTile?.(2, 2);
          const larger = new Uint8Array(scale ** 2 * pixels.length).map((_, i) => {
            const [x, y] = [Math.floor(i / 3) % (scale * width), Math.floor(i / 3 / scale / width)];
            return pixels[(Math.floor(y / scale) * width + Math.floor(x / scale)) * 3 + i % 3]!;
          });
          return Promise.resolve({ width: scale * width, height: scale * height, pixels: larger });
        };
        return Promise.resolve({ enlarge, [Symbol.dispose]() {} });
      },
    },
    Pipeline: {
      load() {
        reach("loadPipeline");
        return Promise.resolve({ ...disposed, generate });
      },
      needs: () => Promise.resolve({ denoise: 3 * 2 ** 29 }),
    },
  };
}
