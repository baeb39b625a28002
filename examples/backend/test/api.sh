# Tests of the programs in bin/, as their users see them.

# ask REQUEST…: the answer to the last request.
ask() {
    printf '%s\n' "$@" | bin/service tmp/db 2>>tmp/service.log | tail -n 1
}

bin/migrate tmp/db >/dev/null
check 'a migration runs once' '' "$(bin/migrate tmp/db)"
check 'migrations are remembered' '001-prices 002-bulk-discount' "$(tr '\n' ' ' <tmp/db/applied | sed 's/ $//')"
check 'it is healthy' "OK $(cat VERSION)" "$(ask HEALTH)"
check 'a known item has a price' 6.40 "$(ask 'PRICE bread 2')"
check 'ten are cheaper' 4.50 "$(ask 'PRICE apple 10')"
check 'an unknown item has none' 'ERROR no such item: plum' "$(ask 'PRICE plum 1')"
check 'a price can be set' 1.40 "$(ask 'PUT plum 70' 'PRICE plum 2')"
check 'it is kept' 0.70 "$(ask 'PRICE plum')"
check 'a price is a number' 'ERROR no price: much' "$(ask 'PUT plum much')"
check 'other requests are refused' 'ERROR no such request: DELETE' "$(ask 'DELETE plum')"
check 'the worker lists what there is' 3 "$(bin/worker tmp/db | wc -l | tr -d ' ')"

scripts/build.sh tmp/dist >/dev/null
scripts/deploy.sh tmp/dist tmp/shop app one >/dev/null
scripts/deploy.sh tmp/dist tmp/shop app two >/dev/null
check 'the newest release is current' two "$(cat tmp/shop/current)"
check 'it answers' 'tmp/shop: app answers as it should' "$(scripts/smoke.sh tmp/shop app)"
check 'a name is used once' refused "$(scripts/deploy.sh tmp/dist tmp/shop app two 2>/dev/null || echo refused)"
scripts/rollback.sh tmp/shop three >/dev/null
check 'what never ran is not taken back' two "$(cat tmp/shop/current)"
scripts/rollback.sh tmp/shop two >/dev/null
check 'a release can be taken back' one "$(cat tmp/shop/current)"
