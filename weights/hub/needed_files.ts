/**
 * Which files of a repository the program needs.
 * @module
 */

/** A choice of files. */
export interface NeededFiles {
  /** Paths of configurations and tokenizer, which are small. */
  readonly configs: readonly string[];
  /** Paths of the weights. */
  readonly weights: readonly string[];
  /** Whether weights in half precision were chosen where there are others. */
  readonly half: boolean;
  /** What is needed and not there, in words; empty for a whole model. */
  readonly missing: readonly string[];
}

const REQUIRED = [
  "model_index.json",
  "scheduler/scheduler_config.json",
  "text_encoder/config.json",
  "unet/config.json",
  "vae/config.json",
];

const OPTIONAL = [
  "denoise.json",
  "tokenizer/tokenizer_config.json",
  "tokenizer/special_tokens_map.json",
  "tokenizer/tokenizer.json",
  "tokenizer/vocab.json",
  "tokenizer/merges.txt",
];

/** The beginning of a part's weight files. */
const STEMS = ["text_encoder/model", "unet/diffusion_pytorch_model", "vae/diffusion_pytorch_model"];

/** Chooses from the paths of a repository; of weights in two precisions the half one, which is half the download. */
export function neededFiles(paths: readonly string[]): NeededFiles {
  const there = new Set(paths);
  const parts = STEMS.map((stem) => ({
    stem,
    half: findWeights(paths, stem, true),
    full: findWeights(paths, stem, false),
  }));
  const tokenizer = there.has("tokenizer/tokenizer.json") ||
    (there.has("tokenizer/vocab.json") && there.has("tokenizer/merges.txt"));
  return {
    configs: [...REQUIRED, ...OPTIONAL].filter((path) => there.has(path)),
    weights: parts.flatMap(({ half, full }) => half ?? full ?? []),
    half: parts.some(({ half, full }) => half !== undefined && full !== undefined),
    missing: [
      ...REQUIRED.filter((path) => !there.has(path)),
      ...(tokenizer ? [] : ["tokenizer/vocab.json and merges.txt"]),
      ...parts.filter(({ half, full }) => half === undefined && full === undefined)
        .map(({ stem }) => `${stem}.safetensors`),
    ],
  };
}

/** One file, or an index and all of its shards; diffusers has written two names for shards in half precision. */
function findWeights(paths: readonly string[], stem: string, half: boolean): readonly string[] | undefined {
  const single = `${stem}${half ? ".fp16" : ""}.safetensors`;
  if (paths.includes(single)) return [single];
  const index = `${stem}.safetensors.index${half ? ".fp16" : ""}.json`;
  if (!paths.includes(index)) return undefined;
  const shards = paths.filter((path) => {
    const name = path.startsWith(stem) ? path.slice(stem.length) : "";
    return half
      ? /^(?:\.fp16-\d{5}-of-\d{5}|-\d{5}-of-\d{5}\.fp16)\.safetensors$/.test(name)
      : /^-\d{5}-of-\d{5}\.safetensors$/.test(name);
  });
  const count = Number(/-of-(\d{5})/.exec(shards[0] ?? "")?.[1]);
  return shards.length === count ? [index, ...shards] : undefined;
}
