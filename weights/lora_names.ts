/**
 * The names of LoRA files: which layer of a model a tensor belongs to, in all spellings there are, and what it is to it.
 * @module
 */
import { originalUnetModules } from "./ldm_names.ts";
import { type ByPart, type PartName, partsOf } from "./manifest.ts";
import type { TensorSource } from "./tensor_source.ts";

/** What a tensor of a LoRA is to the layer that it changes. */
export type Role =
  | "down"
  | "up"
  | "mid"
  | "alpha"
  | "magnitude"
  | "dora_scale"
  | "diff"
  | "diff_b"
  | `hada_${"w1_a" | "w1_b" | "w2_a" | "w2_b" | "t1" | "t2"}`
  | `lokr_${"w1" | "w1_a" | "w1_b" | "w2" | "w2_a" | "w2_b" | "t2"}`;

/** How names end, and the role that says; without one it is what the brackets hold. */
const ENDINGS: readonly (readonly [ending: RegExp, role?: Role])[] = [
  // kohya; diffusers' attention processors, layers and text encoders; PEFT with and without an adapter's name.
  [/(?:\.lora_down|[._]lora\.down|\.lora_linear_layer\.down|\.lora_A(?:\.\w+)?)\.weight$/, "down"],
  [/(?:\.lora_up|[._]lora\.up|\.lora_linear_layer\.up|\.lora_B(?:\.\w+)?)\.weight$/, "up"],
  [/\.lora_mid\.weight$/, "mid"],
  [/(?:_lora)?\.(alpha)$/],
  [/\.(dora_scale|diff|diff_b)$/],
  [/\.lora_magnitude_vector(?:\.\w+)?$/, "magnitude"],
  [/\.lora_magnitude_vector\.\w+\.weight$/, "magnitude"],
  [/\.(hada_(?:w[12]_[ab]|t[12])|lokr_(?:w[12]|w[12]_[ab]|t2))$/],
  // LyCORIS's words for the differences of a normalisation.
  [/\.w_norm$/, "diff"],
  [/\.b_norm$/, "diff_b"],
];

/** What goes before a layer's name, dots and underscores alike. */
const PREFIXES: Readonly<Record<string, readonly string[]>> = {
  text_encoder: [
    "lora_te_",
    "lora_te1_",
    "text_encoder_",
    "base_model_model_text_encoder_",
    "base_model_model_",
    "text_encoders_clip_l_transformer_",
    "cond_stage_model_transformer_",
    "",
  ],
  unet: [
    "lora_unet_",
    "unet_",
    "base_model_model_unet_",
    "base_model_model_",
    "diffusion_model_",
    "model_diffusion_model_",
    "lycoris_",
    "",
  ],
  text_encoder_2: ["lora_te2_", "text_encoder_2_", "base_model_model_text_encoder_2_"],
};

/** A layer or normalisation: its tensors are `module.weight` and `module.bias`. */
export interface Target {
  readonly part: PartName;
  readonly module: string;
}

/** A name as its layer's and its role; undefined where it ends like none. */
export function splitName(name: string): { readonly module: string; readonly role: Role } | undefined {
  for (const [ending, role] of ENDINGS) {
    const match = ending.exec(name);
    if (match) return { module: name.slice(0, match.index), role: role ?? match[1] as Role };
  }
  return undefined;
}

/**
 * What finds the layers of a model by the names that LoRAs give them. Nothing is guessed from a name: each layer of the
 * model is known by all its spellings, with dots and underscores alike, since kohya's names have lost the difference.
 * Tables of embeddings stay as they are.
 */
export function targetsOf(parts: ByPart<Pick<TensorSource, "tensors">>): (module: string) => Target | undefined {
  const known = partsOf(parts).map((part) => [part, spellingsOf(part, parts[part]!.tensors.keys())] as const);
  return (name) => {
    const spelt = flat(name).replaceAll("_processor_to_", "_to_");
    for (const [part, modules] of known) {
      for (const prefix of PREFIXES[part] ?? []) {
        const module = spelt.startsWith(prefix) ? modules.get(spelt.slice(prefix.length)) : undefined;
        if (module !== undefined) return { part, module };
      }
    }
    return undefined;
  };
}

/** The layers of a part by their spellings without a prefix; one that would mean two layers means none. */
function spellingsOf(part: PartName, names: Iterable<string>): ReadonlyMap<string, string> {
  const all = [...names];
  const modules = new Set(all.flatMap((name) => name.match(/^(?!.*embeddings\.)(.+)\.(?:weight|bias)$/)?.[1] ?? []));
  const original = part === "unet" ? originalUnetModules(all) : () => [];
  const spellings = new Map<string, string | undefined>();
  for (const module of modules) {
    const own = part === "unet" ? [module, ...original(module)] : textSpellings(module);
    for (const spelling of new Set([...own, ...own.map(withoutNumber)].map(flat))) {
      spellings.set(spelling, spellings.has(spelling) ? undefined : module);
    }
  }
  return new Map([...spellings].filter((entry): entry is [string, string] => entry[1] !== undefined));
}

/** Old names of diffusers are those of its attention processors. */
const OLD_ATTENTION: Readonly<Record<string, string>> = {
  q_proj: "to_q",
  k_proj: "to_k",
  v_proj: "to_v",
  out_proj: "to_out",
};

function textSpellings(module: string): readonly string[] {
  const old = module.replace(/(?<=\.self_attn\.)\w+$/, (layer) => OLD_ATTENTION[layer] ?? layer);
  return [module, old].flatMap((name) => [name, `text_model.${name}`]);
}

/** Attention processors call the one layer of `to_out` by the list's name. */
function withoutNumber(module: string): string {
  return module.replace(/\.to_out\.0$/, ".to_out");
}

function flat(name: string): string {
  return name.replaceAll(".", "_");
}
