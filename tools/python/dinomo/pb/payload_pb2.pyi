from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class KeyVersion(_message.Message):
    __slots__ = ["key", "vector_clock"]
    class VectorClockEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    VECTOR_CLOCK_FIELD_NUMBER: _ClassVar[int]
    key: str
    vector_clock: _containers.ScalarMap[str, int]
    def __init__(self, key: _Optional[str] = ..., vector_clock: _Optional[_Mapping[str, int]] = ...) -> None: ...

class KeyVersionList(_message.Message):
    __slots__ = ["keys"]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyVersion]
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyVersion, _Mapping]]] = ...) -> None: ...

class MultiKeyCausalValue(_message.Message):
    __slots__ = ["dependencies", "values", "vector_clock"]
    class VectorClockEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    DEPENDENCIES_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_CLOCK_FIELD_NUMBER: _ClassVar[int]
    dependencies: _containers.RepeatedCompositeFieldContainer[KeyVersion]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    vector_clock: _containers.ScalarMap[str, int]
    def __init__(self, vector_clock: _Optional[_Mapping[str, int]] = ..., dependencies: _Optional[_Iterable[_Union[KeyVersion, _Mapping]]] = ..., values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PriorityValue(_message.Message):
    __slots__ = ["priority", "value"]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    priority: float
    value: bytes
    def __init__(self, priority: _Optional[float] = ..., value: _Optional[bytes] = ...) -> None: ...

class SetValue(_message.Message):
    __slots__ = ["values"]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class SingleKeyCausalValue(_message.Message):
    __slots__ = ["values", "vector_clock"]
    class VectorClockEntry(_message.Message):
        __slots__ = ["key", "value"]
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VECTOR_CLOCK_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[bytes]
    vector_clock: _containers.ScalarMap[str, int]
    def __init__(self, vector_clock: _Optional[_Mapping[str, int]] = ..., values: _Optional[_Iterable[bytes]] = ...) -> None: ...

class StringSet(_message.Message):
    __slots__ = ["keys"]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, keys: _Optional[_Iterable[str]] = ...) -> None: ...
