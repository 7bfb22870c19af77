/**
 * CLIP's text encoder (arXiv 2103.00020): token ids in, context out.
 * @module
 */
import type { Affine, Layer, Ops } from "../../kernels/ops.ts";
import { channelsOf, type Tensor } from "../../kernels/tensor.ts";
import { ModelFileError } from "../../weights/mod.ts";
import type { TextConfig } from "./config.ts";
import type { Parameters } from "./parameters.ts";

interface TextLayer {
  readonly norm1: Affine;
  /** Queries, keys and values in one layer. */
  readonly qkv: Layer;
  readonly out: Layer;
  readonly norm2: Affine;
  readonly up: Layer;
  readonly down: Layer;
}

/** The text encoder's weights. The token table stays on the host: only `tokens` of its rows are needed. */
export interface TextWeights {
  readonly config: TextConfig;
  /** The row of `[vocabulary, width]` that a token has. */
  readonly tokens: (id: number) => Float32Array;
  /** `[tokens, width]`. */
  readonly positions: Float32Array;
  readonly layers: readonly TextLayer[];
  readonly finalNorm: Affine;
}

export function readTextEncoder(parameters: Parameters, config: TextConfig): TextWeights {
  const { width, hiddenWidth } = config;
  const layer = (i: number): TextLayer => {
    const name = `encoder.layers.${i}`;
    const attention = ["q_proj", "k_proj", "v_proj"].map((part) => `${name}.self_attn.${part}`);
    return {
      norm1: parameters.affine(`${name}.layer_norm1`, width),
      qkv: parameters.stacked(attention, { in: width, out: width }),
      out: parameters.layer(`${name}.self_attn.out_proj`, { in: width, out: width }),
      norm2: parameters.affine(`${name}.layer_norm2`, width),
      up: parameters.layer(`${name}.mlp.fc1`, { in: width, out: hiddenWidth }),
      down: parameters.layer(`${name}.mlp.fc2`, { in: hiddenWidth, out: width }),
    };
  };
  return {
    config,
    tokens: parameters.table("embeddings.token_embedding.weight", [config.vocabulary, width]),
    positions: parameters.values("embeddings.position_embedding.weight", [config.tokens, width]),
    layers: Array.from({ length: config.layers }, (_, i) => layer(i)),
    finalNorm: parameters.affine("final_layer_norm", width),
  };
}

/**
 * Embeddings of `ids [batch][tokens]` on the host: token plus position, as `[batch, width, tokens]`. A vector `[width]` may
 * stand for an id. A table of 49,408 x 768 would be the largest binding of the whole model, for 77 rows of it.
 *
 * @throws {ModelFileError} when an id is not in the vocabulary or there are more ids than positions: the tokenizer is
 * another model's.
 */
export function embedTokens(
  weights: TextWeights,
  ids: readonly (readonly (number | Float32Array)[])[],
): Float32Array {
  const { width, vocabulary, tokens } = weights.config;
  const length = ids[0]!.length;
  if (length > tokens) {
    throw new ModelFileError("tokenizer", `makes ${length} tokens; the text encoder reads ${tokens}`);
  }
  const embedded = new Float32Array(ids.length * width * length);
  ids.forEach((prompt, sample) =>
    prompt.forEach((id, token) => {
      if (typeof id === "number" && !(Number.isInteger(id) && id >= 0 && id < vocabulary)) {
        throw new ModelFileError("tokenizer", `has a token ${id}; the text encoder's vocabulary has ${vocabulary}`);
      }
      const row = typeof id === "number" ? weights.tokens(id) : id;
      for (let c = 0; c < width; c++) {
        embedded[(sample * width + c) * length + token] = row[c]! + weights.positions[token * width + c]!;
      }
    })
  );
  return embedded;
}

export interface TextEncoderOptions {
  /** Which layer, counted from the last, is the context; default 1. The ones after it do not run. */
  readonly clipSkip?: number;
  /** Called with what each layer returns, before the final normalisation. */
  readonly onLayer?: (index: number, hidden: Tensor) => void;
}

/**
 * Context `[batch, width, tokens]` of embedded tokens `x` of the same shape: what the last layer returns, or another
 * one, normalised as the last one's is.
 */
export function textEncoder(ops: Ops, weights: TextWeights, x: Tensor, options: TextEncoderOptions = {}): Tensor {
  const { heads, width, epsilon, activation, layers } = weights.config;
  const { clipSkip = 1, onLayer } = options;
  weights.layers.slice(0, layers + 1 - clipSkip).forEach((layer, index) => {
    const qkv = ops.linear(ops.layerNorm(x, layer.norm1, { epsilon }), layer.qkv);
    const [q, k, v] = [0, 1, 2].map((i) => channelsOf(qkv, i * width, width)) as [Tensor, Tensor, Tensor];
    x = ops.linear(ops.attention(q, k, v, { heads, causal: true }), layer.out, { plus: x });
    const hidden = ops.linear(ops.layerNorm(x, layer.norm2, { epsilon }), layer.up, { activation });
    x = ops.linear(hidden, layer.down, { plus: x });
    onLayer?.(index, x);
  });
  return ops.layerNorm(x, weights.finalNorm, { epsilon });
}
