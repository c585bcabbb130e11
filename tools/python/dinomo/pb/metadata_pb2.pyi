from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Iterable as _Iterable, Mapping as _Mapping, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor
MEMORY: Tier
ROUTING: Tier
STORAGE: Tier
TIER_UNSPECIFIED: Tier

class ClusterMembership(_message.Message):
    __slots__ = ["tiers"]
    TIERS_FIELD_NUMBER: _ClassVar[int]
    tiers: _containers.RepeatedCompositeFieldContainer[TierMembership]
    def __init__(self, tiers: _Optional[_Iterable[_Union[TierMembership, _Mapping]]] = ...) -> None: ...

class KeyAccessData(_message.Message):
    __slots__ = ["keys"]
    KEYS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedCompositeFieldContainer[KeyCount]
    def __init__(self, keys: _Optional[_Iterable[_Union[KeyCount, _Mapping]]] = ...) -> None: ...

class KeyCount(_message.Message):
    __slots__ = ["access_count", "key"]
    ACCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    access_count: int
    key: str
    def __init__(self, key: _Optional[str] = ..., access_count: _Optional[int] = ...) -> None: ...

class KeyLatency(_message.Message):
    __slots__ = ["key", "latency"]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    key: str
    latency: float
    def __init__(self, key: _Optional[str] = ..., latency: _Optional[float] = ...) -> None: ...

class KeySize(_message.Message):
    __slots__ = ["key", "size"]
    KEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    key: str
    size: int
    def __init__(self, key: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class KeySizeData(_message.Message):
    __slots__ = ["key_sizes"]
    KEY_SIZES_FIELD_NUMBER: _ClassVar[int]
    key_sizes: _containers.RepeatedCompositeFieldContainer[KeySize]
    def __init__(self, key_sizes: _Optional[_Iterable[_Union[KeySize, _Mapping]]] = ...) -> None: ...

class NodeJoinRequest(_message.Message):
    __slots__ = ["request_id", "request_msg", "response_address"]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_MSG_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    request_msg: str
    response_address: str
    def __init__(self, response_address: _Optional[str] = ..., request_id: _Optional[str] = ..., request_msg: _Optional[str] = ...) -> None: ...

class NodeJoinRequestResponse(_message.Message):
    __slots__ = ["request_id", "response_address", "response_id"]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response_address: str
    response_id: str
    def __init__(self, response_address: _Optional[str] = ..., response_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class NodeJoinRequestUnblock(_message.Message):
    __slots__ = ["response_id"]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    response_id: str
    def __init__(self, response_id: _Optional[str] = ...) -> None: ...

class ReplicationFactor(_message.Message):
    __slots__ = ["key", "local"]
    GLOBAL_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_FIELD_NUMBER: _ClassVar[int]
    key: str
    local: _containers.RepeatedCompositeFieldContainer[ReplicationValue]
    def __init__(self, key: _Optional[str] = ..., local: _Optional[_Iterable[_Union[ReplicationValue, _Mapping]]] = ..., **kwargs) -> None: ...

class ReplicationFactorUpdate(_message.Message):
    __slots__ = ["request_id", "response_address", "updates"]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_ADDRESS_FIELD_NUMBER: _ClassVar[int]
    UPDATES_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response_address: str
    updates: _containers.RepeatedCompositeFieldContainer[ReplicationFactor]
    def __init__(self, response_address: _Optional[str] = ..., request_id: _Optional[str] = ..., updates: _Optional[_Iterable[_Union[ReplicationFactor, _Mapping]]] = ...) -> None: ...

class ReplicationFactorUpdateResponse(_message.Message):
    __slots__ = ["response_id"]
    RESPONSE_ID_FIELD_NUMBER: _ClassVar[int]
    response_id: str
    def __init__(self, response_id: _Optional[str] = ...) -> None: ...

class ReplicationValue(_message.Message):
    __slots__ = ["tier", "value"]
    TIER_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    tier: Tier
    value: int
    def __init__(self, tier: _Optional[_Union[Tier, str]] = ..., value: _Optional[int] = ...) -> None: ...

class Server(_message.Message):
    __slots__ = ["private_ip", "public_ip"]
    PRIVATE_IP_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_IP_FIELD_NUMBER: _ClassVar[int]
    private_ip: str
    public_ip: str
    def __init__(self, public_ip: _Optional[str] = ..., private_ip: _Optional[str] = ...) -> None: ...

class ServerThreadStatistics(_message.Message):
    __slots__ = ["access_count", "cache_miss_count", "epoch", "kvs_avg_latency", "local_log_hit_count", "occupancy", "shortcut_cache_hit_count", "storage_consumption", "value_cache_hit_count", "value_cache_size"]
    ACCESS_COUNT_FIELD_NUMBER: _ClassVar[int]
    CACHE_MISS_COUNT_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    KVS_AVG_LATENCY_FIELD_NUMBER: _ClassVar[int]
    LOCAL_LOG_HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    OCCUPANCY_FIELD_NUMBER: _ClassVar[int]
    SHORTCUT_CACHE_HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STORAGE_CONSUMPTION_FIELD_NUMBER: _ClassVar[int]
    VALUE_CACHE_HIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    VALUE_CACHE_SIZE_FIELD_NUMBER: _ClassVar[int]
    access_count: int
    cache_miss_count: int
    epoch: int
    kvs_avg_latency: float
    local_log_hit_count: int
    occupancy: float
    shortcut_cache_hit_count: int
    storage_consumption: int
    value_cache_hit_count: int
    value_cache_size: int
    def __init__(self, storage_consumption: _Optional[int] = ..., occupancy: _Optional[float] = ..., epoch: _Optional[int] = ..., access_count: _Optional[int] = ..., value_cache_size: _Optional[int] = ..., value_cache_hit_count: _Optional[int] = ..., shortcut_cache_hit_count: _Optional[int] = ..., local_log_hit_count: _Optional[int] = ..., cache_miss_count: _Optional[int] = ..., kvs_avg_latency: _Optional[float] = ...) -> None: ...

class TierMembership(_message.Message):
    __slots__ = ["servers", "tier_id"]
    SERVERS_FIELD_NUMBER: _ClassVar[int]
    TIER_ID_FIELD_NUMBER: _ClassVar[int]
    servers: _containers.RepeatedCompositeFieldContainer[Server]
    tier_id: Tier
    def __init__(self, tier_id: _Optional[_Union[Tier, str]] = ..., servers: _Optional[_Iterable[_Union[Server, _Mapping]]] = ...) -> None: ...

class UserFeedback(_message.Message):
    __slots__ = ["avg_latency", "finish", "key_latency", "max_latency", "median_latency", "min_latency", "tail_latency", "throughput", "uid", "warmup"]
    AVG_LATENCY_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    KEY_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MAX_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_LATENCY_FIELD_NUMBER: _ClassVar[int]
    MIN_LATENCY_FIELD_NUMBER: _ClassVar[int]
    TAIL_LATENCY_FIELD_NUMBER: _ClassVar[int]
    THROUGHPUT_FIELD_NUMBER: _ClassVar[int]
    UID_FIELD_NUMBER: _ClassVar[int]
    WARMUP_FIELD_NUMBER: _ClassVar[int]
    avg_latency: float
    finish: bool
    key_latency: _containers.RepeatedCompositeFieldContainer[KeyLatency]
    max_latency: float
    median_latency: float
    min_latency: float
    tail_latency: float
    throughput: float
    uid: str
    warmup: bool
    def __init__(self, uid: _Optional[str] = ..., avg_latency: _Optional[float] = ..., min_latency: _Optional[float] = ..., max_latency: _Optional[float] = ..., median_latency: _Optional[float] = ..., tail_latency: _Optional[float] = ..., finish: bool = ..., throughput: _Optional[float] = ..., warmup: bool = ..., key_latency: _Optional[_Iterable[_Union[KeyLatency, _Mapping]]] = ...) -> None: ...

class Tier(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = []
