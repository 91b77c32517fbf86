/** A frame of zstd with one block as it is, which any Node can write. RFC 8878, section 3.1.1. */
export function zstdFrame(text) {
  const content = Buffer.from(text)
  const header = Buffer.alloc(12)
  header.writeUInt32LE(0xfd2fb528, 0)
  // One segment, its size in four bytes; then the last block, raw.
  header.writeUInt8(0xa0, 4)
  header.writeUInt32LE(content.length, 5)
  header.writeUIntLE((content.length << 3) | 1, 9, 3)
  return Buffer.concat([header, content])
}
