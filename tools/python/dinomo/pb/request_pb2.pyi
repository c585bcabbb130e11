from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DAMAGED: AnnaError
DELETE: RequestType
DESCRIPTOR: _descriptor.FileDescriptor
GET: RequestType
INSERT: RequestType
INVALID_REQUEST: AnnaError
KEY_DNE: AnnaError
LATTICE: AnnaError
LWW: LatticeType
MULTI_CAUSAL: LatticeType
NONE: LatticeType
NO_ERROR: AnnaError
NO_SERVERS: AnnaError
NO_SPACE: AnnaError
ORDERED_SET: LatticeType
OVERLOADED: AnnaError
PRIORITY: LatticeType
PUT: RequestType
READ: RequestType
RT_UNSPECIFIED: RequestType
SET: LatticeType
SINGLE_CAUSAL: LatticeType
TIMEOUT: AnnaError
TOO_LARGE: AnnaError
UPDATE: RequestType
WRONG_THREAD: AnnaError

class KeyAddress(_message.Message):
    __slots__ = ["ips", "key"]
    IPS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ips: _containers.RepeatedScalarFieldContainer[str]
    key: str
    def __init__(self, key: _Optional[str] = ..., ips: _Optional[_Iterable[str]] = ...) -> None: ...

class KeyAddressRequest(_message.Message):
    __slots__ = ["keys", "request_id", "response_address"]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    response_address: str
    def __init__(self, response_address: _Optional[str] = ..., keys: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class KeyAddressResponse(_message.Message):
    __slots__ = ["addresses", "error", "response_id"]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    addresses: _containers.RepeatedCompositeFieldContainer[KeyAddress]
    error: AnnaError
    response_id: str
    def __init__(self, addresses: _Optional[_Iterable[_Union[KeyAddress, _Mapping]]] = ..., error: _Optional[_Union[AnnaError, str]] = ..., response_id: _Optional[str] = ...) -> None: ...

class KeyRequest(_message.Message):
    __slots__ = ["request_id", "response_address", "tuples", "type"]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    TUPLES_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response_address: str
    tuples: _containers.RepeatedCompositeFieldContainer[KeyTuple]
    type: RequestType
    def __init__(self, type: _Optional[_Union[RequestType, str]] = ..., tuples: _Optional[_Iterable[_Union[KeyTuple, _Mapping]]] = ..., response_address: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class KeyResponse(_message.Message):
    __slots__ = ["error", "response_id", "tuples", "type"]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    TUPLES_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    error: AnnaError
    response_id: str
    tuples: _containers.RepeatedCompositeFieldContainer[KeyTuple]
    type: RequestType
    def __init__(self, type: _Optional[_Union[RequestType, str]] = ..., tuples: _Optional[_Iterable[_Union[KeyTuple, _Mapping]]] = ..., response_id: _Optional[str] = ..., error: _Optional[_Union[AnnaError, str]] = ...) -> None: ...

class KeyTuple(_message.Message):
    __slots__ = ["address_cache_size", "error", "invalidate", "ips", "key", "lattice_type", "payload"]
    ADDRESS_CACHE_SIZE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    INVALIDATE_FIELD_NUMBER: _ClassVar[int]
    IPS_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LATTICE_TYPE_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    address_cache_size: int
    error: AnnaError
    invalidate: bool
    ips: _containers.RepeatedScalarFieldContainer[str]
    key: str
    lattice_type: LatticeType
    payload: bytes
    def __init__(self, key: _Optional[str] = ..., lattice_type: _Optional[_Union[LatticeType, str]] = ..., error: _Optional[_Union[AnnaError, str]] = ..., payload: _Optional[bytes] = ..., address_cache_size: _Optional[int] = ..., invalidate: bool = ..., ips: _Optional[_Iterable[str]] = ...) -> None: ...

class LWWValue(_message.Message):
    __slots__ = ["timestamp", "value"]
    TIMESTAMP_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    timestamp: int
    value: bytes
    def __init__(self, timestamp: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...

class RequestType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class LatticeType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []

class AnnaError(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
