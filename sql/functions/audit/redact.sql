-- A row's fields without what must not be told: digests, ciphertexts, headers of tools' endpoints.
create or replace function app.redact(fields jsonb) returns jsonb
    language sql immutable parallel safe
    return (
        select jsonb_object_agg(
            f.key,
            case
                when f.value = 'null' then f.value
                when f.key in ('digest', 'ciphertext') then '"***"'
                when f.key = 'endpoint' and jsonb_typeof(f.value -> 'headers') = 'object' then jsonb_set(
                    f.value, '{headers}',
                    coalesce(
                        (select jsonb_object_agg(h, '***') from jsonb_object_keys(f.value -> 'headers') h),
                        '{}'
                    )
                )
                else f.value
            end
        )
        from jsonb_each(fields) f
    );

grant execute on function app.redact(jsonb) to map_api, map_operator;
