/**
 * The most that a stranger's file or line may ask for: checked where its bytes come in, before they cost memory or time.
 * Every number is several times what any published model or sensible use needs.
 * @module
 */

/** Upper bounds, by what they bound. */
export const LIMITS = {
  /** Bytes of a safetensors header: room for some 200,000 tensors. */
  headerBytes: 25_000_000,
  /** Bytes of a configuration or an index of shards. */
  jsonBytes: 2 ** 24,
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
  /** Tokens of a chunk. */
  tokens: 4096,
  /** Rows of a token table. */
  vocabulary: 2 ** 20,
  /** Pixels along a side of a latent or a picture that a model was trained with. */
  side: 4096,
} as const;
