/**
 * ControlNets of tiny models as files.
 * @module
 */
import { openFormula } from "../../weights/formula.ts";
import { unetName } from "./ldm_checkpoint.ts";
import { type StoredTensor, storeTensors } from "./safetensors_bytes.ts";

const FIXTURES = new URL("../../fixtures/", import.meta.url).pathname;

/** The folder with the configuration of a tiny ControlNet. */
export function controlFolder(model: "sd1" | "sdxl" = "sd1"): string {
  return `${FIXTURES}tiny-controlnet/${model === "sd1" ? "controlnet" : "controlnet-xl"}`;
}

/** A tensor's name in the file; undefined leaves it out. */
type Rename = (name: string) => string | undefined;

/**
 * The bytes of a tiny ControlNet whose weights are computed from `prefix`, as those that the golden data was made with;
 * `sees` makes its picture matter, which there changes nothing that could be measured.
 */
export function controlFile(
  { prefix = "tiny-controlnet.controlnet", sees = false, model, rename = (name) => name, more = {} }: {
    readonly prefix?: string;
    readonly sees?: boolean;
    readonly model?: "sd1" | "sdxl";
    readonly rename?: Rename;
    readonly more?: Readonly<Record<string, StoredTensor>>;
  } = {},
): Uint8Array<ArrayBuffer> {
  const shapes = JSON.parse(Deno.readTextFileSync(`${controlFolder(model)}/tensors.json`));
  const source = openFormula(prefix, new Map(shapes));
  const tensors = new Map(Object.entries(more));
  for (const { name, dtype, shape } of source.tensors.values()) {
    const renamed = rename(name);
    if (renamed === undefined) continue;
    const bytes = source.read(name);
    const isHint = sees && name.startsWith("controlnet_cond_embedding.") && shape.length === 4;
    const factor = /controlnet_(?:down|mid)_block/.test(name)
      ? 1 / 4
      : isHint
      ? 200 / Math.sqrt(shape.slice(1).reduce((a, b) => a * b))
      : 1;
    const values = new Float16Array(bytes.buffer).map((value) => value * factor);
    tensors.set(renamed, { dtype, shape, bytes: new Uint8Array(values.buffer) });
  }
  return storeTensors(tensors);
}

/** The original names, behind `prefix`. */
export function originalControlName(prefix: string): Rename {
  return (name) => {
    const [, output] = name.match(/^controlnet_down_blocks\.(\d+)\./) ?? [];
    const kind = name.slice(name.lastIndexOf(".") + 1);
    if (output !== undefined) return `${prefix}zero_convs.${output}.0.${kind}`;
    if (name.startsWith("controlnet_mid_block.")) return `${prefix}middle_block_out.0.${kind}`;
    const [, hint] = name.match(/^controlnet_cond_embedding\.(.+)\.(?:weight|bias)$/) ?? [];
    if (hint === undefined) return prefix + unetName(name, 2);
    // Every second layer is an activation, and there are eight convolutions.
    const number = hint === "conv_in" ? 0 : hint === "conv_out" ? 14 : 2 * (Number(hint.slice("blocks.".length)) + 1);
    return `${prefix}input_hint_block.${number}.${kind}`;
  };
}
