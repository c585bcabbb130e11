// Package call is the language of the few requests that the DPM's own processor serves: a fixed
// little-endian binary codec for what a KN sends through fabric.QP.Call and what it gets back.
//
// A request is an operation byte, a version byte and the operation's fields; a reply is a status,
// the operation, a text for people (empty when all is well) and the operation's fields. Lengths are
// exact: bytes missing or left over make a message malformed, and no count in a message makes a
// decoder allocate more than the message's own bytes justify.
//
//	request  0        1          2
//	         +--------+----------+-----------------+
//	         | op u8  | version  | fields ...      |
//	         +--------+----------+-----------------+
//	reply    0        1          2            4
//	         +--------+----------+------------+---------------+-----------+
//	         | status | op u8    | textLen u16| text          | fields ...|
//	         +--------+----------+------------+---------------+-----------+
//
// Byte strings are a u32 length and the bytes; lists are a u32 count and the elements.
//
// It knows nothing of pools or queue pairs, and it keeps no state.
package call
