/**
 * What can go wrong with a GPU, as far as it maps to an exit code.
 * @module
 */

/** No adapter that can run the kernels; the message says what to install. */
export class NoGpuError extends Error {
  static {
    this.prototype.name = "NoGpuError";
  }
}

/** Something did not fit into GPU memory, or into one buffer or texture of this GPU; the message says how large it is. */
export class GpuMemoryError extends Error {
  static {
    this.prototype.name = "GpuMemoryError";
  }
}

/** The device was lost, or refused a shader, a command or its results. */
export class GpuFailedError extends Error {
  static {
    this.prototype.name = "GpuFailedError";
  }
}
