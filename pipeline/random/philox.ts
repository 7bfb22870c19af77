/**
 * Philox4x32-10: Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3", 2011.
 * @module
 */

const ROUNDS = 10;
const MULTIPLIERS = [0xd2511f53n, 0xcd9e8d57n] as const;
const WEYL = [0x9e3779b9n, 0xbb67ae85n] as const;

/** Four 32-bit words. */
export type Block = readonly [bigint, bigint, bigint, bigint];

/** The block of four uniform 32-bit words that `counter` names under the 64-bit `key`. */
export function philox(counter: Block, key: bigint): Block {
  let [a, b, c, d] = counter;
  let low = BigInt.asUintN(32, key);
  let high = BigInt.asUintN(32, key >> 32n);
  for (let round = 0; round < ROUNDS; round++) {
    const first = a * MULTIPLIERS[0];
    const second = c * MULTIPLIERS[1];
    [a, b] = [(second >> 32n) ^ b ^ low, BigInt.asUintN(32, second)];
    [c, d] = [(first >> 32n) ^ d ^ high, BigInt.asUintN(32, first)];
    low = BigInt.asUintN(32, low + WEYL[0]);
    high = BigInt.asUintN(32, high + WEYL[1]);
  }
  return [a, b, c, d];
}
