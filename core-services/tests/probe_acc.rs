use hub_services::store::*;
fn need_send<T: Send>(t: T) -> T { t }
async fn go(store: &Store, ids: &[i64]) -> Result<i64, StoreError> {
        let name = String::from("x");
    store.run_tx("t", |tx| { let name = &name; async move { let n = helper(&tx, ids, name).await?; Ok(n) } }).await
}
async fn helper(tx: &Tx, ids: &[i64], name: &str) -> Result<i64, StoreError> { Ok(tx.query("SELECT 1::bigint", &[]).await?[0].get::<_, i64>(0) + ids[0]) }
trait H { fn write(&self, c: &[i64]) -> impl Future<Output = Result<i64, StoreError>> + Send; }
struct S(Store);
impl H for S { async fn write(&self, c: &[i64]) -> Result<i64, StoreError> { let v = vec![1i64]; self.0.run_tx("t", |tx| { let v = &v; async move { let n = helper(&tx, c, "").await?; Ok(n + v[0]) } }).await } }
#[tokio::test]
async fn probe() {
    let mut o = StoreOptions::new(std::env::var("DATABASE_URL").unwrap()); o.allow_unsafe_durability = true;
    let s = Store::connect(&o).await.unwrap();
    let s2 = s.clone();
    let n = tokio::spawn(async move { need_send(go(&s2, &[3])).await }).await.unwrap().unwrap();
    assert_eq!(n, 4);
    let h = std::sync::Arc::new(S(s)); let r = tokio::spawn(async move { h.write(&[1]).await }).await.unwrap().unwrap(); assert_eq!(r, 3);
}
