// Package wire is the byte format of fabric connections over a stream: greeting, batches of verbs,
// calls. All integers are little-endian.
//
// A dialler greets, the listener answers once; from then on the dialler sends requests and the
// listener answers each in order:
//
//	greeting        "DNMF" version:u16 backend:u8 0:u8 bodyBytes:u32 | Hello body
//	answer          "DNMF" version:u16 backend:u8 status:u8 bodyBytes:u32 | Session body, or the refusal's text
//
//	batch request   op=1:u8 0:u8 count:u16 sequence:u32 bytes:u64 | count descriptors | WRITE payloads, concatenated
//	descriptor      kind:u8 0:7 address:u64 a:u64 b:u64
//	                READ, WRITE, FLUSH: a = length; CAS: a = expect, b = swap; FETCH_ADD: a = addend
//	batch answer    op=1:u8 status:u8 done:u16 sequence:u32 0:u64 | results of the first done verbs | sequence:u32 ^0:u32
//	results         READ: the bytes; CAS, FETCH_ADD: the word before; FLUSH: a u64 status, and after
//	                one that is not 0 no further result; WRITE: nothing
//
//	call request    op=2:u8 0:u8 0:u16 sequence:u32 bytes:u64 | request
//	call answer     op=2:u8 status:u8 0:u16 sequence:u32 bytes:u64 | reply
//
// Results may be on their way before the last verb ran, hence the trailer: the batch is complete
// when it has arrived.
//
// Decoders check every length, kind and reserved byte, allocate nothing that a peer's numbers
// could make large, and are fuzzed. The package does no I/O and knows no pool: whether an address
// is inside it, fabric.Check says.
package wire
