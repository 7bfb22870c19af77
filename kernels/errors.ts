/**
 * What can go wrong with a GPU, as far as it maps to an exit code.
 * @module
 */

/** No adapter that can run the kernels; the message says what to install. */
export class NoGpuError extends Error {
  /** Stable across minification and realms. */
  override readonly name = "NoGpuError";
}

/** A buffer did not fit into GPU memory; the message says how many bytes. */
export class GpuMemoryError extends Error {
  /** Stable across minification and realms. */
  override readonly name = "GpuMemoryError";
}

/** The device was lost, or refused a shader, a command or its results. */
export class GpuFailedError extends Error {
  /** Stable across minification and realms. */
  override readonly name = "GpuFailedError";
}
