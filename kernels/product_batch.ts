/**
 * The batch of a product that is given none.
 * @module
 */
import type { ProductBatch, Stride } from "./backend.ts";

/** An operand that stays where it is. */
export const NO_STRIDE: Stride = { rows: 0, columns: 0 };

const STILL = [NO_STRIDE, NO_STRIDE] as const;

/** One product. */
export const SINGLE: ProductBatch = { outer: 1, inner: 1, a: STILL, b: STILL, out: STILL };
