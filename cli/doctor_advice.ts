/**
 * What `denoise doctor` has to say about what it found.
 * @module
 */
import type { DoctorReport } from "./doctor_report.ts";

/** The oldest Deno that the program is tested with. */
const OLDEST_DENO = [2, 9] as const;

/** What is wrong or slow, why, and what can be done; a sentence each. */
export function adviseOn(found: Omit<DoctorReport, "advice">): readonly string[] {
  const { deno, adapter, features, limits, kernels, tests = [], caches } = found;
  const lacks = (name: string) => features?.[name] === false;
  const wrong = tests.filter(({ failure }) => failure !== undefined);
  const bound = limits?.maxStorageBufferBindingSize ?? Infinity;
  const rules: readonly (readonly [applies: boolean | undefined, advice: string])[] = [
    [isOld(deno), `Deno ${deno} is older than ${OLDEST_DENO.join(".")}, which this program needs: deno upgrade`],
    [wrong.length > 0, "The GPU computes wrongly, and so would its pictures be: another driver may help"],
    [
      wrong.length > 0 && wrong.every(({ name }) => name.includes("float16")),
      "Only float16 is wrong: --precision f32 does without it",
    ],
    [
      adapter?.software,
      "The GPU is a software renderer, that is, the CPU: a picture of the embedded model takes seconds, one of Stable " +
      "Diffusion 1.x many minutes; a card needs its driver to be seen",
    ],
    [
      adapter?.software && kernels?.backend === "buffer",
      "Kernels that read buffers are slow on software renderers, and those that read textures do not pay here",
    ],
    [lacks("shader-f16"), "Without shader-f16 all arithmetic is float32: activations take twice the memory"],
    [lacks("subgroups"), "Without subgroups sums go through workgroup memory, which is slower"],
    [
      lacks("timestamp-query"),
      "Without timestamp-query kernels cannot be timed: tables choose them, and bench cannot run",
    ],
    [
      bound < 2 ** 30,
      `The GPU binds at most ${bound / 2 ** 20} MiB at once: pictures that need more are decoded in tiles`,
    ],
    [caches.length === 0, "Nothing says where caches go, so timings are not kept: set HOME or XDG_CACHE_HOME"],
  ];
  return rules.flatMap(([applies, advice]) => applies ? [advice] : []);
}

function isOld(version: string): boolean {
  const [major = 0, minor = 0] = version.split(".").map(Number);
  return major < OLDEST_DENO[0] || (major === OLDEST_DENO[0] && minor < OLDEST_DENO[1]);
}
