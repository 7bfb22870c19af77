/**
 * WGSL of the element-wise functions, for any of f32 and its vectors.
 * @module
 */
import type { Activation, Epilogue } from "./backend.ts";

/**
 * `gelu` uses the error function of Abramowitz and Stegun 7.1.26 (absolute error 1.5e-7: below f32's own at this
 * size), because WGSL has none. `T` stands for the type.
 */
const TEXT: Readonly<Record<Exclude<Activation, "none" | "geglu">, string>> = {
  silu: `fn silu(x: T) -> T { return x / (1.0 + exp(-x)); }`,
  quick_gelu: `fn quick_gelu(x: T) -> T { return x / (1.0 + exp(-1.702 * x)); }`,
  gelu: `fn gelu(x: T) -> T {
  let z = abs(x) * 0.70710678;
  let t = 1.0 / (1.0 + 0.3275911 * z);
  let tail = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))));
  let erf = sign(x) * (1.0 - tail * exp(-z * z));
  return 0.5 * x * (1.0 + erf);
}`,
};

/** The WGSL function that `activation` needs, of WGSL type `type`; nothing for `none`. */
export function activationFunction(activation: Activation, type: string): string {
  if (activation === "none") return "";
  return TEXT[activation === "geglu" ? "gelu" : activation].replaceAll("T", type);
}

/** WGSL of `sum` activated by `apply` with `plus` added, if there is any: after the activation or before it. */
export function addPlus(
  { plusFirst }: Pick<Epilogue, "plusFirst">,
  { sum, plus, apply }: { readonly sum: string; readonly plus?: string; readonly apply: (value: string) => string },
): string {
  if (plus === undefined) return apply(sum);
  return plusFirst ? apply(`${sum} + ${plus}`) : `${apply(sum)} + ${plus}`;
}
