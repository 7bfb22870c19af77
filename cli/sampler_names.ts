/**
 * Schedulers by the names that AUTOMATIC1111's web UI and stable-diffusion.cpp give them.
 * @module
 */

/** A sampler and a noise schedule, for which diffusers and we have one name. */
export interface SamplerName {
  /** The web UI's `Sampler`. */
  readonly sampler: string;
  /** The web UI's `Schedule type`. */
  readonly schedule: string;
  /** The sampler's name in stable-diffusion.cpp. */
  readonly short?: string;
}

const AUTOMATIC = "Automatic";

/** By our names. DDPM, DEIS and the 2S solver are unknown to the web UI and have the names of its forks. */
const names: Readonly<Record<string, SamplerName>> = {
  "pndm": { sampler: "PLMS", schedule: AUTOMATIC },
  "ddim": { sampler: "DDIM", schedule: AUTOMATIC },
  "ddim-trailing": { sampler: "DDIM", schedule: "SGM Uniform", short: "ddim_trailing" },
  "euler": { sampler: "Euler", schedule: AUTOMATIC, short: "euler" },
  "euler-karras": { sampler: "Euler", schedule: "Karras", short: "euler" },
  "euler-trailing": { sampler: "Euler", schedule: "SGM Uniform", short: "euler" },
  "euler-ancestral": { sampler: "Euler a", schedule: AUTOMATIC, short: "euler_a" },
  "heun": { sampler: "Heun", schedule: AUTOMATIC, short: "heun" },
  "lms": { sampler: "LMS", schedule: AUTOMATIC, short: "lms" },
  "dpm2": { sampler: "DPM2", schedule: AUTOMATIC, short: "dpm2" },
  "dpmpp-2m": { sampler: "DPM++ 2M", schedule: AUTOMATIC, short: "dpm++2m" },
  "dpmpp-2m-karras": { sampler: "DPM++ 2M", schedule: "Karras", short: "dpm++2m" },
  "dpmpp-2m-sde": { sampler: "DPM++ 2M SDE", schedule: AUTOMATIC, short: "dpm++2m_sde" },
  "dpmpp-2s": { sampler: "DPM++ 2S", schedule: AUTOMATIC },
  "unipc": { sampler: "UniPC", schedule: AUTOMATIC },
  "deis": { sampler: "DEIS", schedule: AUTOMATIC },
  "lcm": { sampler: "LCM", schedule: AUTOMATIC, short: "lcm" },
  "ddpm": { sampler: "DDPM", schedule: AUTOMATIC },
};

/** Other names of the schedules above. */
const schedules: Readonly<Record<string, string>> = {
  "automatic": AUTOMATIC,
  "uniform": AUTOMATIC,
  "normal": AUTOMATIC,
  "discrete": AUTOMATIC,
  "karras": "Karras",
  "sgm uniform": "SGM Uniform",
  "sgm_uniform": "SGM Uniform",
};

/** The web UI's names of a scheduler of ours; its own name where there is none. */
export function samplerOf(scheduler: string): SamplerName {
  return names[scheduler] ?? { sampler: scheduler, schedule: AUTOMATIC };
}

/**
 * Our scheduler for a sampler and a schedule. Old versions of the web UI, and stable-diffusion.cpp, write the schedule
 * behind the sampler: `DPM++ 2M Karras`, `dpm++2m karras`.
 */
export function schedulerOf(sampler: string, schedule = AUTOMATIC): string | undefined {
  const behind = /^(.*) (karras|discrete|normal|sgm_uniform|sgm uniform)$/i.exec(sampler);
  const [, written, kind] = behind ?? [undefined, sampler, schedule];
  const wanted = schedules[kind!.toLowerCase()];
  const name = written!.toLowerCase();
  const found = Object.entries(names).find(([own, entry]) =>
    [own, entry.sampler.toLowerCase(), entry.short].includes(name) &&
    (entry.schedule === wanted || name === "ddim_trailing")
  );
  return found?.[0];
}
