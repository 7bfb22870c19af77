import { assertEquals } from "@std/assert";
import { parseInfotext } from "../../cli/infotext.ts";
import { samplerOf, schedulerOf } from "../../cli/sampler_names.ts";
import { readForeign } from "../../cli/web_ui.ts";
import { nearestName, schedulerNames } from "../../pipeline/schedulers/mod.ts";

Deno.test("every scheduler's name is found again under the web UI's names, one name for one scheduler", () => {
  const written = schedulerNames().map((name) => samplerOf(name));
  assertEquals(written.map(({ sampler, schedule }) => schedulerOf(sampler, schedule)), [...schedulerNames()]);
  assertEquals(samplerOf("euler-ancestral"), { sampler: "Euler a", schedule: "Automatic", short: "euler_a" });
});

Deno.test("samplers of the web UI, old and new, and of stable-diffusion.cpp have our names", () => {
  for (
    const [sampler, schedule, expected] of [
      ["Euler a", undefined, "euler-ancestral"],
      ["DPM++ 2M Karras", undefined, "dpmpp-2m-karras"],
      ["DPM++ 2M", "Karras", "dpmpp-2m-karras"],
      ["DPM++ 2M", "Automatic", "dpmpp-2m"],
      ["PLMS", undefined, "pndm"],
      ["euler_a discrete", undefined, "euler-ancestral"],
      ["euler", undefined, "euler"],
      ["dpm++2m karras", undefined, "dpmpp-2m-karras"],
      ["ddim_trailing discrete", undefined, "ddim-trailing"],
      ["DPM++ SDE", "Karras", undefined],
      ["Euler", "Exponential", undefined],
      ["Heun Karras", undefined, undefined],
      ["Restart", undefined, undefined],
    ] as const
  ) {
    assertEquals(schedulerOf(sampler, schedule), expected, `${sampler}, ${schedule}`);
  }
});

Deno.test("a model's own configuration has the name of its class and variant", () => {
  for (
    const [config, expected] of [
      [{ _class_name: "PNDMScheduler", steps_offset: 1 }, "pndm"],
      [{ _class_name: "DDIMScheduler", steps_offset: 1, set_alpha_to_one: false, clip_sample: false }, "ddim"],
      [{ _class_name: "DDIMScheduler", timestep_spacing: "trailing", clip_sample: false }, "ddim-trailing"],
      [{ _class_name: "EulerDiscreteScheduler", use_karras_sigmas: true }, "euler-karras"],
      [{ _class_name: "EulerDiscreteScheduler", timestep_spacing: "leading" }, "euler"],
      [{ _class_name: "DPMSolverMultistepScheduler", algorithm_type: "sde-dpmsolver++" }, "dpmpp-2m-sde"],
    ] as const
  ) {
    assertEquals(nearestName(config), expected);
  }
});

Deno.test("what another tool's picture was made with, as far as it can be made again", () => {
  const recipe = readForeign(parseInfotext(
    "a (cat:1.2)\nNegative prompt: dog\nSteps: 30, Sampler: DPM++ SDE, Schedule type: Karras, CFG scale: 6.5, " +
      "Seed: 18446744073709551615, Size: 512x768, Model hash: 45dee52b, Model: mine, Hires upscale: 2, Version: v1.10.1",
  ));
  assertEquals(recipe, {
    prompt: "a (cat:1.2)",
    options: {
      "negative-prompt": "dog",
      "prompt-syntax": "a1111",
      "long-prompt": "chunk",
      "clip-skip": "1",
      "steps": "30",
      "guidance": "6.5",
      "seed": "18446744073709551615",
      "width": "512",
      "height": "768",
      "rng": "cuda",
    },
    software: "v1.10.1",
    lost: ["Sampler: DPM++ SDE, Schedule type: Karras", "Model: mine (--model says where it lies)", "Hires upscale: 2"],
  });
  const rng = (name: string) => readForeign(parseInfotext(`x\nSteps: 1, Seed: 1, RNG: ${name}`)).options.rng;
  assertEquals(["CPU", "NV", "GPU", "cuda", "cpu"].map(rng), ["cpu", "cuda", "cuda", "cuda", "cpu"]);
  assertEquals(readForeign(parseInfotext("x\nSteps: 1, Seed: 1, RNG: std_default")).lost, ["RNG: std_default"]);
});
