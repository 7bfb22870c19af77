/**
 * The end of a denoising step of the buffer backend: a thread owns four pixels of one channel of the latent.
 * @module
 */
import type { Launch, SamplerSpec } from "../backend.ts";
import { inpainting } from "../inpaint.ts";
import { kernel, unroll } from "../kernel.ts";
import { memoryOf, pixels } from "../tensor.ts";
import { access, addressSizes, port, sampleColumns } from "./layout.ts";

const THREADS = 64;

/** See {@link Backend.sample}. */
export function sample(spec: SamplerSpec): Launch {
  const { prediction, input, slots } = spec;
  const guided = prediction.batch === 2;
  const row = slots + 2;
  const inpaint = inpainting(spec);
  const quads = prediction.channels * sampleColumns(pixels(prediction)) / 4;
  const body = `
${access("prediction", prediction)}
${access("input", input, "read_write")}
@compute @workgroup_size(${THREADS})
fn main(@builtin(global_invocation_id) id: vec3<u32>) {
  let i = i32(id.x);
  if (i >= size.quads) { return; }
  let row = i / size.prediction_sample;
  let quad = i % size.prediction_sample;
  let first = i32(step[0]) * size.coefficients;
  let input_scale = coefficients[first];
  let unconditional = prediction_load(row, quad);
  ${
    guided
      ? `let conditional = prediction_load(row, size.prediction_sample + quad);
  let output = unconditional + coefficients[first + 1] * (conditional - unconditional);`
      : "let output = unconditional;"
  }
  let fresh = noise[i];
  ${unroll(slots, (s) => `let old${s} = state[${s} * size.quads + i];`)}
  ${
    unroll(slots, (s) => {
      const at = (i: number) => `coefficients[first + ${2 + s * row + i}]`;
      const terms = Array.from({ length: slots }, (_, i) => `${at(i)} * old${i}`);
      const drawn = `${terms.join(" + ")} + ${at(slots)} * output + ${at(slots + 1)} * fresh`;
      const level = `first + ${2 + slots * row}`;
      return `let new${s} = ${s === 0 ? inpaint.sample(drawn, { index: "i", count: "size.quads", level }) : drawn};
  state[${s} * size.quads + i] = new${s};`;
    })
  }
  input_store(row, quad, new0 * input_scale);
  ${guided ? "input_store(row, size.input_sample + quad, new0 * input_scale);" : ""}
}`;
  return {
    kernel: kernel({
      name: "sampler",
      ports: [
        port("prediction", prediction),
        port("input", input, "read_write"),
        { kind: "buffer", name: "state", access: "read_write", element: "vec4<f32>" },
        { kind: "buffer", name: "noise", access: "read", element: "vec4<f32>" },
        { kind: "buffer", name: "coefficients", access: "read", element: "f32" },
        { kind: "buffer", name: "step", access: "read", element: "u32" },
        ...inpaint.ports,
      ],
      sizes: {
        ...addressSizes("prediction", prediction),
        ...addressSizes("input", input),
        quads,
        coefficients: 2 + slots * row + inpaint.coefficients,
      },
      body,
      workgroups: [Math.ceil(quads / THREADS), 1, 1],
    }),
    memory: memoryOf(prediction, input, spec.state, spec.noise, spec.coefficients, spec.step, ...inpaint.memory),
  };
}
