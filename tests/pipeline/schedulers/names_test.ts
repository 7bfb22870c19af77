import { assertEquals, assertThrows } from "@std/assert";
import { classes } from "../../../pipeline/schedulers/table.ts";
import {
  evaluationsPerStep,
  findScheduler,
  schedulerAliases,
  schedulerNames,
  webUiNames,
} from "../../../pipeline/schedulers/mod.ts";

Deno.test("every scheduler is found by each of its names, and by what is written for the web UI", () => {
  for (const name of schedulerNames()) {
    const { sampler, schedule } = webUiNames(name);
    assertEquals(findScheduler(sampler, schedule), name);
    for (const alias of [name, ...schedulerAliases(name)]) {
      assertEquals(findScheduler(alias), name, alias);
      assertEquals(findScheduler(alias.toUpperCase()), name, alias);
    }
  }
  for (const [className, { names }] of Object.entries(classes)) {
    assertEquals(findScheduler(className), Object.keys(names)[0]);
  }
  assertEquals(webUiNames("euler-ancestral"), { sampler: "Euler a", schedule: "Automatic" });
  assertEquals(webUiNames("dpmpp-2m"), { sampler: "DPM++ 2M", schedule: "Uniform" });
});

Deno.test("samplers of the web UI, old and new, of stable-diffusion.cpp and of others have our names", () => {
  for (
    const [sampler, schedule, expected] of [
      ["Euler a", undefined, "euler-ancestral"],
      ["k_euler_a", undefined, "euler-ancestral"],
      ["k_euler_ancestral", undefined, "euler-ancestral"],
      ["DPM++ 2M", undefined, "dpmpp-2m"],
      ["DPM++ 2M Karras", undefined, "dpmpp-2m-karras"],
      ["DPM++ 2M", "Karras", "dpmpp-2m-karras"],
      // Since the web UI has schedules, this sampler's own is Karras, and that of the next one is none of ours.
      ["DPM++ 2M", "Automatic", "dpmpp-2m-karras"],
      ["DPM++ 2M SDE", "Automatic", undefined],
      ["DPM++ 2M SDE", "Normal", "dpmpp-2m-sde"],
      ["Euler", "Automatic", "euler"],
      ["Euler", "SGM Uniform", "euler-trailing"],
      ["PLMS", undefined, "pndm"],
      ["euler_a discrete", undefined, "euler-ancestral"],
      ["dpm++2m", undefined, "dpmpp-2m"],
      ["dpm++2m karras", undefined, "dpmpp-2m-karras"],
      ["dpm++2m_sde", undefined, "dpmpp-2m-sde"],
      ["ddim_trailing discrete", undefined, "ddim-trailing"],
      ["uni_pc", undefined, "unipc"],
      ["dpm_2", undefined, "dpm2"],
      ["DPM++ SDE", "Karras", undefined],
      ["Euler", "Exponential", undefined],
      ["Heun Karras", undefined, undefined],
      ["Restart", undefined, undefined],
      ["", undefined, undefined],
    ] as const
  ) {
    assertEquals(findScheduler(sampler, schedule), expected, `${sampler}, ${schedule}`);
  }
});

Deno.test("second-order schedulers run the model twice a step", () => {
  const twice = schedulerNames().filter((name) => evaluationsPerStep(name) === 2);
  assertEquals(twice, ["heun", "dpm2"]);
});

Deno.test("an unknown name is refused", () => {
  assertThrows(() => webUiNames("euler-b"), RangeError, "Scheduler euler-b is not known; known: pndm,");
});
