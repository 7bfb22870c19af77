/**
 * LoRAs in prompts, as AUTOMATIC1111 writes them: `<lora:name:0.8>`.
 * @module
 */
import { quoted } from "../../weights/json.ts";
import { LIMITS } from "../../weights/limits.ts";

/** A LoRA that a prompt names. */
export interface LoraTag {
  /** What it is called, without a folder or an ending. */
  readonly name: string;
  /** 1 where nothing was said. */
  readonly weight: number;
}

const TAG = /<(?:lora|lyco):([^:<>]*)(?::([^<>]*))?>/g;

const NUMBER = /^\s*[+-]?(?:\d+(?:\.\d*)?|\.\d+)\s*$/;

/** The prompt without its tags, which no model reads. */
export function withoutLoraTags(prompt: string): string {
  return prompt.replaceAll(TAG, "");
}

/**
 * The LoRAs that a prompt names, in its order.
 *
 * @throws {RangeError} when one has no name, or a weight that is not one number from -100 to 100.
 */
export function readLoraTags(prompt: string): readonly LoraTag[] {
  return Array.from(prompt.matchAll(TAG), ([tag, name = "", weight = "1"]) => {
    if (name.trim() === "") throw new RangeError(`${quoted(tag)} names no LoRA`);
    if (NUMBER.test(weight) && Math.abs(Number(weight)) <= LIMITS.loraWeight) {
      return { name: name.trim(), weight: Number(weight) };
    }
    throw new RangeError(
      `The weight of ${quoted(tag)} is not one number from ${-LIMITS.loraWeight} to ${LIMITS.loraWeight}`,
    );
  });
}
