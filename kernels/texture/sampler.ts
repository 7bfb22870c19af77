/**
 * The end of a denoising step of the texture backend: a lane owns one texel of the latent.
 * @module
 */
import type { Launch, SamplerSpec } from "../backend.ts";
import { inpainting } from "../inpaint.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels } from "../tensor.ts";
import { addressing, addressSizes, readPort, textureLayout, writePort } from "./layout.ts";

/** See {@link Backend.sample}. State, noise and coefficients are tiny and stay in buffers: they are read and written. */
export function sample(spec: SamplerSpec): Launch {
  const { prediction, input, slots } = spec;
  const guided = prediction.batch === 2;
  const row = slots + 2;
  const inpaint = inpainting(spec);
  const latent = textureLayout(prediction.channels, pixels(prediction));
  const body = `
${addressing("prediction")}
${addressing("input")}
@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let column = i32(id.x);
  let slice = i32(id.y);
  if (column >= size.pixels) { return; }
  let texel = slice * size.pitch + column;
  let count = size.slices * size.pitch;
  let first = i32(step[0]) * size.coefficients;
  let input_scale = coefficients[first];
  let unconditional = textureLoad(prediction, prediction_at(slice, column));
  ${
    guided
      ? `let conditional = textureLoad(prediction, prediction_at(slice, column + size.pixels));
  let output = unconditional + coefficients[first + 1] * (conditional - unconditional);`
      : "let output = unconditional;"
  }
  let fresh = noise[texel];
  ${unroll(slots, (s) => `let old${s} = state[${s} * count + texel];`)}
  ${
    unroll(slots, (s) => {
      const at = (i: number) => `coefficients[first + ${2 + s * row + i}]`;
      const terms = Array.from({ length: slots }, (_, i) => `${at(i)} * old${i}`);
      const drawn = `${terms.join(" + ")} + ${at(slots)} * output + ${at(slots + 1)} * fresh`;
      const level = `first + ${2 + slots * row}`;
      return `let new${s} = ${s === 0 ? inpaint.sample(drawn, { index: "texel", count: "count", level }) : drawn};
  state[${s} * count + texel] = new${s};`;
    })
  }
  textureStore(input, input_at(slice, column), new0 * input_scale);
  ${guided ? "textureStore(input, input_at(slice, column + size.pixels), new0 * input_scale);" : ""}
}`;
  return {
    kernel: kernel({
      name: "sampler",
      ports: [
        readPort("prediction", prediction),
        writePort("input"),
        { kind: "buffer", name: "state", access: "read_write", element: "vec4<f32>" },
        { kind: "buffer", name: "noise", access: "read", element: "vec4<f32>" },
        { kind: "buffer", name: "coefficients", access: "read", element: "f32" },
        { kind: "buffer", name: "step", access: "read", element: "u32" },
        ...inpaint.ports,
      ],
      sizes: {
        ...addressSizes("prediction", prediction),
        ...addressSizes("input", input),
        pixels: pixels(prediction),
        pitch: latent.width * latent.fold,
        slices: Math.ceil(prediction.channels / 4),
        coefficients: 2 + slots * row + inpaint.coefficients,
      },
      body,
      workgroups: [Math.ceil(pixels(prediction) / 64), Math.ceil(prediction.channels / 4), 1],
    }),
    memory: memoryOf(prediction, input, spec.state, spec.noise, spec.coefficients, spec.step, ...inpaint.memory),
  };
}
