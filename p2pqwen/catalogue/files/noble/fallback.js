// SHA-256 and Ed25519 for browsers that offer neither here, by @noble/hashes 2.4.0 and @noble/ed25519 3.2.0 (LICENSE).
// The libraries verify with cofactor; SPEC section 5 asks for the equation without it, so it is written out below.

import { Point } from "./ed25519.js";
import { sha256, sha512 } from "./sha2.js";

const ORDER = 2n ** 252n + 27742317777372353535851937790883648493n;

const littleEndian = (bytes) => bytes.reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n);
const times = (point, scalar) => (scalar === 0n ? Point.ZERO : point.multiply(scalar, false));

// Tells whether S B = R + k A, of a signature whose S is below the group's order and whose R is not of small order.
function verify(signature, message, key) {
  try {
    const [R, A] = [Point.fromBytes(signature.slice(0, 32)), Point.fromBytes(key)];
    const parts = new Uint8Array(64 + message.length);
    parts.set(signature.slice(0, 32));
    parts.set(key, 32);
    parts.set(message, 64);
    const k = littleEndian(sha512(parts)) % ORDER;
    return times(Point.BASE, littleEndian(signature.slice(32))).equals(R.add(times(A, k)));
  } catch {
    return false;
  }
}

export { sha256, verify };
