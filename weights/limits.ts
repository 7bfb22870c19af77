/**
 * The most that a stranger's file or line may ask for: checked where its bytes come in, before they cost memory or time.
 * Every number is several times what any published model or sensible use needs.
 * @module
 */

/** Upper bounds, by what they bound. */
export const LIMITS = {
  /** Bytes of a safetensors header: room for some 200,000 tensors. */
  headerBytes: 25_000_000,
  /** Tensors of a file. */
  tensors: 2 ** 16,
  /** Characters of a tensor's name. */
  name: 256,
  /** Dimensions of a tensor. */
  dimensions: 8,
  /** Elements of a tensor: one is held at a time. */
  elements: 2 ** 29,
  /** Bytes of a matrix that a file stores with its rows as columns. */
  turnedBytes: 2 ** 25,
  /** Files of a model's part. */
  shards: 128,
  /** Bytes of a configuration, an index of shards, or a hub's list. */
  jsonBytes: 2 ** 24,
  /** Files of a repository. */
  repositoryFiles: 2 ** 16,
  /** Bytes of a tokenizer's file. */
  tokenizerBytes: 2 ** 26,
  /** Resolutions of a UNet or VAE. */
  blocks: 8,
  /** Layers of a text encoder. */
  layers: 128,
  /** Residual blocks of a resolution. */
  residuals: 16,
  /** Layers of a transformer between them. */
  depth: 32,
  /** Channels of a layer. */
  channels: 2 ** 14,
  /** Blocks of an upscaler. */
  denseBlocks: 128,
  /** How often an upscaler may double a picture. */
  doublings: 5,
  /** Bytes of an upscaler's file, all of which are hashed. */
  upscalerBytes: 2 ** 31,
  /** How many times as wide a second pass draws. */
  hires: 8,
  /** Rank of a LoRA: the work is proportional to it. */
  rank: 4096,
  /** Bytes of a file that is given beside a model, all of which are hashed. */
  hashedBytes: 2 ** 33,
  /** LoRAs of a picture, and textual inversions. */
  loras: 64,
  /** Weight of a LoRA, above or below 0. */
  loraWeight: 100,
  /** Vectors of a textual inversion. */
  vectors: 1024,
  /** Characters of the word that they stand for. */
  word: 256,
  /** ControlNets of a model, each of which is another third of it on the GPU. */
  controls: 8,
  /** Strength of a ControlNet. */
  controlStrength: 10,
  /** Thresholds of edges: no gradient is larger. */
  gradient: 2040,
  /** Tokens of a chunk. */
  tokens: 4096,
  /** Rows of a token table, and merges of pairs of tokens. */
  vocabulary: 2 ** 20,
  /** Timesteps that a model was trained with. */
  timesteps: 10_000,
  /** Denoising steps. */
  steps: 1000,
  /** Scale of guidance. */
  guidance: 1000,
  /** Characters of a prompt. */
  prompt: 2 ** 20,
  /** Chunks of tokens that a prompt is read in. */
  chunks: 256,
  /** Characters of a text that is shown as one line. */
  line: 200,
  /** Pixels along a side of a latent or a picture that a model was trained with. */
  side: 4096,
  /** Pixels along a side of the original that a picture is to look as if it was made from. */
  original: 2 ** 16,
  /** Bytes of a PNG file that is read. */
  pngBytes: 2 ** 28,
  /** Chunks of a PNG file. */
  pngChunks: 2 ** 17,
  /** Pixels of a PNG file: 192 MiB of them, and twice as much again while they are read. */
  pngPixels: 2 ** 26,
  /** Texts of a PNG file. */
  pngTexts: 64,
  /** Bytes of a text of a PNG file, packed or not, and of a line of a batch. */
  textBytes: 2 ** 20,
  /** Letters of the name of a file, a folder or a model: no system takes more. */
  nameLetters: 4096,
  /** Settings in a text of another tool. */
  textSettings: 512,
  /** Bytes of a prompt, or of a negative one. */
  promptBytes: 2 ** 16,
  /** Bytes of a batch. */
  batchBytes: 2 ** 26,
  /** Lines of a batch that ask for pictures. */
  batchLines: 2 ** 20,
  /** Pictures of a run. */
  pictures: 2 ** 30,
} as const;
